"""Calls of Kaggle's API through its own SDK: repeated where that is safe, with errors in one line and without secrets.

The SDK is the layer below `import kaggle`, which authenticates over the network when it is imported, drops files that
it could not upload and then creates the dataset without them, and prints errors and exits with 0. None of it is used.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from pipeline.errors import MissingDependencyError, RemoteError
from pipeline.publish.clock import Clock
from pipeline.publish.kaggle.credentials import Credentials

ATTEMPTS = 5
BUSY, PASSING = (429,), (408, 429, 500, 502, 503, 504)
_FIRST_WAIT_S, _LONGEST_WAIT_S = 2.0, 120.0
_TIMEOUT_S = (30.0, 300.0)
_ADVICE = {
    401: "the credentials are not accepted; make a new token on https://www.kaggle.com/settings",
    403: "this account may not do that; does the id begin with its name?",
    404: "there is nothing of that name",
    429: "too many requests; try again later",
}
_AGAIN = "; run the same command again: what was sent is not sent twice"
_NONSENSE = "the answer cannot be understood"
_UNREADABLE = (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError)

Request = TypeVar("Request")
Response = TypeVar("Response")
Read = TypeVar("Read")


class KaggleCalls:
    """A session with Kaggle."""

    def __init__(self, credentials: Credentials, clock: Clock) -> None:
        self._credentials = credentials
        self._clock = clock
        self._secrets = set(credentials.secrets)
        self.client = _open_client(credentials)

    def hide(self, *secrets: str) -> None:
        """Keep these out of every error."""
        self._secrets.update(secret for secret in secrets if secret)

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
            read: takes from the answer what is needed; the SDK does not check what kinds of values are in it, so that
                whatever goes wrong here is the answer's fault.
            what: what it is about, for errors.
            repeat: whether asking twice does no harm; what is refused for being one too many is always repeated.

        Raises:
            RemoteError: it could not be reached, or refused.
        """
        import requests

        for attempt in range(ATTEMPTS):
            last = attempt == ATTEMPTS - 1
            try:
                return read(method(request))
            except requests.HTTPError as error:
                status, headers = _answer(error)
                if last or status not in (PASSING if repeat else BUSY):
                    raise StatusError(self.tell(what, status, str(error)), status) from None
                self.wait(attempt, headers.get("Retry-After"))
            except (requests.RequestException, *_UNREADABLE) as error:
                lost = isinstance(error, requests.ConnectionError | requests.Timeout)
                if last or not lost or not repeat:
                    said = "no connection, or it was lost; is the network there?" if lost else _NONSENSE
                    raise RemoteError(self.tell(what, 0, f"{said} ({type(error).__name__})")) from None
                self.wait(attempt)
        raise AssertionError

    def wait(self, attempt: int, asked: str | None = None) -> None:
        """Wait before another attempt: as long as the server asks for, else longer each time."""
        seconds = _FIRST_WAIT_S * 2**attempt
        if asked and asked.strip().isdecimal():
            seconds = float(asked.strip()[:9])
        self._clock.sleep(min(seconds, _LONGEST_WAIT_S))

    def tell(self, what: str, status: int, said: str = "") -> str:
        """Return an error in one line, without addresses and secrets."""
        said = " ".join(said.partition(" for url: ")[0].split())
        for secret in sorted(self._secrets, key=len, reverse=True):
            said = said.replace(secret, "***")
        number = f"{status}: " if status and not said.startswith(str(status)) else ""
        advice = f"; {_ADVICE[status]}" if status in _ADVICE else _AGAIN
        return f"Kaggle: {what}: {number}{said:.300}{advice}"


class StatusError(RemoteError):
    """An answer of the server that is a refusal, with its status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def _answer(error: Any) -> tuple[int, Mapping[str, str]]:
    """Return the status and the headers of an answer that became an error; of status 200, its JSON says why."""
    response = error.response
    if response is None:
        return 0, {}
    status = response.status_code
    if status < 400:
        with suppress(*_UNREADABLE):
            status = int(response.json()["code"])
    return status, response.headers


def _open_client(credentials: Credentials) -> Any:
    """Return a client of the SDK; nothing is sent by opening it.

    Raises:
        MissingDependencyError: the SDK is not installed.
    """
    try:
        from kagglesdk.kaggle_client import KaggleClient
        from kagglesdk.kaggle_env import KaggleEnv
    except ImportError as error:
        raise MissingDependencyError(
            f"publishing to Kaggle needs its client, which cannot be imported ({error}); pip install 'augpipe[kaggle]'"
        ) from error
    client = KaggleClient(
        env=KaggleEnv.PROD,
        username=credentials.username,
        password=credentials.key,
        api_token=credentials.token,
        user_agent="augpipe",
    )
    session = bounded_session()
    client.__enter__()  # makes its session
    own = client.http_client()._session  # noqa: SLF001  # it has no other way to bound how long an answer may take
    for prefix in ("https://", "http://"):
        own.mount(prefix, session.get_adapter(prefix))
    return client


def bounded_session() -> Any:
    """Return a session of requests that waits for no answer forever."""
    import requests
    from requests.adapters import HTTPAdapter

    class Bounded(HTTPAdapter):
        def send(self, *arguments: Any, **keywords: Any) -> requests.Response:
            if keywords.get("timeout") is None:
                keywords["timeout"] = _TIMEOUT_S
            return super().send(*arguments, **keywords)

    session = requests.Session()
    for prefix in ("https://", "http://"):
        session.mount(prefix, Bounded(max_retries=0))
    return session
