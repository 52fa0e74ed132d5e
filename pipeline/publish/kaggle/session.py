"""A session with Kaggle: the client, the uploads, and whose account it is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError
from pipeline.publish.clock import Clock
from pipeline.publish.journal import Journal
from pipeline.publish.kaggle.calls import KaggleCalls, StatusError
from pipeline.publish.kaggle.credentials import Credentials
from pipeline.publish.kaggle.upload import Uploader


@dataclass(frozen=True, slots=True)
class KaggleSession:
    """An account, and what is done in its name."""

    calls: KaggleCalls
    uploader: Uploader
    account: str

    @property
    def api(self) -> Any:
        """The part of the client that knows datasets."""
        return self.calls.client.datasets.dataset_api_client


def open_session(credentials: Credentials, dataset: Path, clock: Clock) -> KaggleSession:
    """Open a session, and ask whose token it is; whose a legacy key is, it says itself.

    Args:
        credentials: who publishes.
        dataset: the dataset's folder, beside which uploads are noted.
        clock: the time.

    Raises:
        ConfigError: the token is not valid.
        RemoteError: Kaggle cannot be reached, or does not answer.
        MissingDependencyError: its client is not installed.
    """
    calls = KaggleCalls(credentials, clock)
    account = credentials.username or _ask_whose(calls, credentials)
    return KaggleSession(calls, Uploader(calls, Journal(dataset, account), clock), account)


def _ask_whose(calls: KaggleCalls, credentials: Credentials) -> str:
    from kagglesdk.security.types.oauth_service import IntrospectTokenRequest

    request = IntrospectTokenRequest()
    request.token = credentials.token
    invalid = f"Kaggle: the token in {credentials.found} is not valid any more; make a new one"
    try:
        active, username = calls.call(
            calls.client.security.oauth_client.introspect_token,
            request,
            lambda answer: (answer.active is True, str(answer.username or "")),
            what=f"the token in {credentials.found} could not be checked",
        )
    except StatusError as refusal:
        if refusal.status in (400, 403, 404):  # as the official client takes them
            raise ConfigError(invalid) from refusal
        raise
    if not active or not username:
        raise ConfigError(invalid)
    return username
