"""A session with Kaggle through its own SDK: calls are repeated where that is safe, and errors tell no secrets.

The SDK is the layer below `import kaggle`, which authenticates over the network when it is imported, drops files that
it could not upload and then creates the dataset without them, and prints errors and exits with 0. None of it is used.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from pipeline.errors import ConfigError, MissingDependencyError, RemoteError
from pipeline.publish.kaggle.credentials import Credentials
from pipeline.publish.kaggle.messages import DeclinedError, fill

MAX_ATTEMPTS = 5
_TOO_MANY, PASSING = (429,), (408, 429, 500, 502, 503, 504)  # statuses after which to try again
_FIRST_WAIT_S, _MAX_WAIT_S = 2.0, 120.0
_TIMEOUT_S = (30.0, 300.0)
_ADVICE = {
    401: "the credentials are not accepted; make a new token on https://www.kaggle.com/settings",
    403: "this account may not do that; does the id begin with its name?",
    404: "there is nothing of that name",
    429: "too many requests; try again later",
}
_AGAIN = "; run the same command again: what was sent is not sent twice"
_UNREADABLE = (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError)

Request = TypeVar("Request")
Response = TypeVar("Response")
Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class Clock:
    """The clock of this machine; tests bring their own."""

    def now(self) -> float:
        """Return the seconds since 1970."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class StatusError(RemoteError):
    """An answer of the server that is a refusal, with its status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class KaggleSession:
    """The SDK's client, and whose account it acts for; nothing is sent by opening it.

    Raises:
        MissingDependencyError: the SDK is not installed.
    """

    def __init__(self, credentials: Credentials, clock: Clock) -> None:
        try:
            from kagglesdk.kaggle_client import KaggleClient
            from kagglesdk.kaggle_env import KaggleEnv
        except ImportError as error:
            raise MissingDependencyError(
                f"publishing to Kaggle needs its client, which cannot be imported ({error}); "
                "run pip install '.[kaggle]' in the checkout of augpipe"
            ) from error
        self._credentials = credentials
        self._clock = clock
        self._secrets = set(credentials.secrets)
        self.client = KaggleClient(
            env=KaggleEnv.PROD,
            username=credentials.username,
            password=credentials.key,
            api_token=credentials.token,
            user_agent="augpipe",
        )
        self.client.__enter__()  # makes its session, which has no other way to limit how long an answer may take
        limit_waiting(self.client.http_client()._session)  # noqa: SLF001

    @cached_property
    def account(self) -> str:
        """Whose account it is: a legacy key comes with its user's name, and Kaggle says whose a token is.

        Raises:
            ConfigError: the token is not valid.
            RemoteError: Kaggle cannot be reached, or does not answer.
        """
        if self._credentials.username:
            return self._credentials.username
        from kagglesdk.security.types.oauth_service import IntrospectTokenRequest

        found = self._credentials.found
        invalid = f"Kaggle: the token in {found} is not valid any more; make a new one"
        try:
            active, username = self.call(
                self.client.security.oauth_client.introspect_token,
                fill(IntrospectTokenRequest(), token=self._credentials.token),
                lambda answer: (answer.active is True, str(answer.username or "")),
                what=f"the token in {found} could not be checked",
            )
        except StatusError as refusal:
            if refusal.status in (400, 403, 404):  # which the official client takes for an invalid token, too
                raise ConfigError(invalid) from refusal
            raise
        if not active or not username:
            raise ConfigError(invalid)
        return username

    def hide(self, *secrets: str) -> None:
        """Keep these out of every error."""
        self._secrets.update(filter(None, secrets))

    # Not urllib3's Retry: it hangs on the adapter, for every call here is a POST to one host, while what may be
    # repeated differs by call; it does not see an error within an answer of status 200; and an upload that was cut must
    # ask how much has arrived before anything is put again, so that a loop of our own would be needed beside it.
    def call(
        self,
        method: Callable[[Request], Response],
        request: Request,
        read: Callable[[Response], Read],
        *,
        what: str,
        repeat: bool = True,
    ) -> Read:
        """Return what is read in the answer to a request.

        Args:
            method: of a client of the SDK.
            request: what to ask.
            read: takes what is needed from the answer; the SDK does not check the types of values in it, so that any
                error here is the answer's fault. It raises DeclinedError if the answer is that nothing was done.
            what: what failed, for errors.
            repeat: whether it may be asked again when nobody knows whether it was done; after too many requests, which
                are refused without being looked at, it always is.

        Raises:
            RemoteError: it could not be reached, or refused.
        """
        import requests

        for attempt in range(MAX_ATTEMPTS):
            again = attempt < MAX_ATTEMPTS - 1
            try:
                return read(method(request))
            except requests.HTTPError as error:
                status, wait_s = _read_refusal(error)
                if not again or status not in (PASSING if repeat else _TOO_MANY):
                    raise StatusError(self.tell(what, status, str(error)), status) from None
                self.wait(attempt, wait_s)
            except (requests.ConnectionError, requests.Timeout) as error:
                if not (again and repeat):
                    lost = f"no connection, or it was lost; is the network there? ({type(error).__name__})"
                    raise RemoteError(self.tell(what, 0, lost)) from None
                self.wait(attempt)
            except DeclinedError as error:
                raise RemoteError(self.tell(what, 0, str(error))) from None
            except (requests.RequestException, *_UNREADABLE) as error:
                unread = f"the answer cannot be understood ({type(error).__name__})"
                raise RemoteError(self.tell(what, 0, unread)) from None
        raise AssertionError

    def wait(self, attempt: int, seconds: float | None = None) -> None:
        """Wait before another attempt: for so many seconds, unless given longer each time."""
        self._clock.sleep(min(_FIRST_WAIT_S * 2**attempt if seconds is None else seconds, _MAX_WAIT_S))

    def tell(self, what: str, status: int, reason: str) -> str:
        """Return an error in one line, without addresses and secrets."""
        reason = " ".join(reason.partition(" for url: ")[0].split())
        for secret in sorted(self._secrets, key=len, reverse=True):
            reason = reason.replace(secret, "***")
        number = f"{status}: " if status and not reason.startswith(str(status)) else ""
        advice = f"; {_ADVICE[status]}" if status in _ADVICE else _AGAIN
        return f"Kaggle: {what}: {number}{reason:.300}{advice}"


def limit_waiting(session: Any) -> Any:
    """Return a session of requests after making it wait for no answer forever."""
    from requests.adapters import HTTPAdapter

    class LimitedAdapter(HTTPAdapter):
        def send(self, *arguments: Any, **keywords: Any) -> Any:
            return super().send(*arguments, **{**keywords, "timeout": keywords.get("timeout") or _TIMEOUT_S})

    for prefix in ("https://", "http://"):
        session.mount(prefix, LimitedAdapter(max_retries=0))
    return session


def _read_refusal(error: Any) -> tuple[int, float | None]:
    """Return the status of a refusal, and how many seconds to wait if it says so; of status 200, its JSON says why."""
    response = error.response
    if response is None:
        return 0, None
    status = response.status_code
    if status < 400:
        with suppress(*_UNREADABLE):
            status = int(response.json()["code"])
    seconds = response.headers.get("Retry-After", "").strip()[:9]
    return status, float(seconds) if seconds.isdecimal() else None
