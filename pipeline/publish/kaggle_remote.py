"""Kaggle as a place to publish to."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augment.errors import ConfigError, RemoteError
from pipeline.kaggle_terms import mark
from pipeline.publish.clock import Clock
from pipeline.publish.credentials import Credentials, find_credentials
from pipeline.publish.journal import Journal
from pipeline.publish.kaggle_calls import KaggleCalls, StatusError
from pipeline.publish.kaggle_files import new_file
from pipeline.publish.kaggle_settings import new_settings, picture
from pipeline.publish.kaggle_upload import Uploader
from pipeline.publish.naming import KaggleId
from pipeline.publish.parcel import Item
from pipeline.publish.remote import FailedError, Listing, Published, RemoteState
from pipeline.shards.record import COVER_FILE, METADATA_FILE

_MARK = re.compile(mark("([0-9a-f]{64})"))
_UNDER_WAY = (
    "NOT_YET_PERSISTED",
    "BLOBS_RECEIVED",
    "BLOBS_DECOMPRESSED",
    "BLOBS_COPIED_TO_SDS",
    "INDIVIDUAL_BLOBS_COMPRESSED",
    "REPROCESSING",
)
_READY = "READY"
_POLL_S, _PATIENCE_S = 10.0, 1800.0


class KaggleRemote:
    """A dataset on Kaggle, which may not exist yet.

    Args:
        identity: its owner and slug.
        dataset: the dataset's folder, beside which uploads are noted.
        clock: the time.
    """

    def __init__(self, identity: KaggleId, dataset: Path, *, clock: Clock | None = None) -> None:
        self._id = identity
        self._dataset = dataset.resolve()
        self._clock = clock or Clock()
        self._credentials: Credentials | None = None
        self._opened: _Session | None = None
        self._tokens: dict[str, str] = {}

    @property
    def name(self) -> str:
        """`kaggle owner/slug`."""
        return f"kaggle {self._id}"

    def check(self) -> None:
        """Find the credentials.

        Raises:
            ConfigError: there are none.
            RefusedError: others can read them.
        """
        self._credentials = find_credentials()

    def look(self) -> RemoteState:
        """Ask who we are, and what is there; wait while a version is being made, for Kaggle then takes no other."""
        try:
            self._get()
        except StatusError as refusal:
            if refusal.status == 404 or (refusal.status == 403 and not self._is_listed()):
                return RemoteState(exists=False)
            raise
        status = self._settle()
        found = self._get()  # again: which version is the current one may have changed meanwhile
        return RemoteState(
            exists=True,
            version=found.current_version_number,
            dataset_sha256=_marked(found) if status == _READY else None,
            public=found.is_private is False,
        )

    def _get(self) -> Any:
        request = _named(_types().ApiGetDatasetRequest(), self._id)
        return self._session.calls.call(self._session.api.get_dataset, request, what=f"{self._id} cannot be looked up")

    def wants(self, item: Item) -> bool:
        """All but the metadata, which are told in requests and are no file there."""
        return item.name != METADATA_FILE

    def send(self, item: Item) -> int:
        """Upload what is missing of a file."""
        self._tokens[item.name], sent = self._session.uploader.upload(item, picture=item.name == COVER_FILE)
        return sent

    def commit(self, listing: Listing, items: tuple[Item, ...], state: RemoteState) -> str:
        """Create the dataset, or a version of it, from files that are all there."""
        for item in items:
            item.require_unchanged()
        files = tuple(item for item in items if item.name != COVER_FILE)
        types = _types()
        about = {resource["path"]: resource for resource in listing.resources}
        if state.exists:
            body = types.ApiCreateDatasetVersionRequestBody()
            body.version_notes = listing.notes
            request = _named(types.ApiCreateDatasetVersionRequest(), self._id)
            method, what = self._session.api.create_dataset_version, f"no new version of {self._id} was made"
        else:
            body = request = types.ApiCreateDatasetRequest()
            body.owner_slug, body.slug = self._id.owner, self._id.slug
            body.title, body.license_name, body.is_private = listing.title, listing.licence, listing.private
            method, what = self._session.api.create_dataset, f"{self._id} was not created"
        body.subtitle = listing.subtitle or None
        body.description = listing.description
        body.files = [new_file(self._tokens[item.name], about.get(item.name)) for item in files]
        body.category_ids = list(listing.keywords)
        if state.exists:
            request.body = body
        answer = self._session.calls.call(method, request, what=what, repeat=False)
        self._require_accepted(answer, what)
        self._session.uploader.forget(files)
        return str(answer.url or self._url)

    def wait(self, after: int | None) -> Published:
        """Ask until Kaggle has made the version ready."""
        give_up = self._clock.now() + _PATIENCE_S
        while True:
            if (status := self._settle()) != _READY:
                raise FailedError(f"Kaggle: {self._id} was accepted and then became {status}; publish it again")
            found = self._get()
            version = found.current_version_number
            if version is not None and version > (after or 0):
                return Published(str(found.url or self._url), version)
            self._pause(give_up, f"version {version} is still the current one")

    def describe(self, listing: Listing, items: tuple[Item, ...], *, anew: bool) -> None:
        """Set what its versions share: licence, sources, how often it changes, its picture, and a title if asked to."""
        types, api, call = _types(), self._session.api, self._session.calls.call
        what = f"{self._id} is there in full, but its licence, sources and cover could not be set"
        answer = call(api.get_dataset_metadata, _named(types.ApiGetDatasetMetadataRequest(), self._id), what=what)
        if answer.error_message or answer.info is None:
            raise RemoteError(self._session.calls.tell(what, 0, answer.error_message or "nothing is known of it"))
        request = _named(types.ApiUpdateDatasetMetadataRequest(), self._id)
        request.settings = new_settings(answer.info, listing)
        if not anew and request.settings.to_dict().items() <= answer.info.to_dict().items():
            return
        covers = tuple(item for item in items if item.name == COVER_FILE)
        for cover in covers:
            if cover.name not in self._tokens:
                self.send(cover)
            request.settings.image = picture(self._tokens[cover.name])
        if errors := call(api.update_dataset_metadata, request, what=what).errors:
            raise RemoteError(self._session.calls.tell(what, 0, "; ".join(errors)))
        self._session.uploader.forget(covers)

    def _settle(self) -> str:
        """Wait until no version is being made, and return what became of the last one."""
        request = _named(_types().ApiGetDatasetStatusRequest(), self._id)
        give_up = self._clock.now() + _PATIENCE_S
        while True:
            try:
                answer = self._session.calls.call(
                    self._session.api.get_dataset_status, request, what=f"{self._id} has no status"
                )
                status = str(answer.status.name)
            except StatusError as refusal:
                if refusal.status != 404:
                    raise
                status = _UNDER_WAY[0]  # a dataset has no status for the first moments
            if status not in _UNDER_WAY:
                return status
            self._pause(give_up, f"its status is {status}")

    def _pause(self, give_up: float, why: str) -> None:
        if self._clock.now() >= give_up:
            raise RemoteError(
                f"Kaggle: {self._id} was not ready after {_PATIENCE_S / 60:.0f} minutes ({why}); run the same command "
                "again: it goes on waiting, and sends nothing twice"
            )
        self._clock.sleep(_POLL_S)

    @property
    def _url(self) -> str:
        return f"https://www.kaggle.com/datasets/{self._id}"

    @property
    def _session(self) -> "_Session":
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    def _open(self) -> "_Session":
        """Open a session, and ask whose token it is; whose a legacy key is, it says itself."""
        credentials = self._credentials or find_credentials()
        calls = KaggleCalls(credentials, self._clock)
        account = credentials.username or _introspect(calls, credentials)
        return _Session(calls, Uploader(calls, Journal(self._dataset, account), self._clock), account)

    def _is_listed(self) -> bool:
        """Return whether the account's own datasets hold it: Kaggle forbids what does not exist, too."""
        if self._session.account != self._id.owner:
            return True
        from kagglesdk.datasets.types.dataset_enums import DatasetSelectionGroup

        request = _types().ApiListDatasetsRequest()
        request.group = DatasetSelectionGroup.DATASET_SELECTION_GROUP_MY
        request.search = self._id.slug
        answer = self._session.calls.call(
            self._session.api.list_datasets, request, what="the account's datasets cannot be listed"
        )
        return any(each.ref.strip("/") == str(self._id) for each in answer.datasets or [])

    def _require_accepted(self, answer: Any, what: str) -> None:
        """Refuse an answer that says, with status 200, that nothing was done."""
        status = (answer.status or "").lower()
        if answer.error or status not in ("", "ok"):
            raise RemoteError(self._session.calls.tell(what, 0, str(answer.error or f"its status is {status}")))
        ref = (answer.ref or answer.url or "").rstrip("/").lower()
        if not ref.endswith(f"/{self._id.slug}") and ref != self._id.slug:
            raise RemoteError(self._session.calls.tell(what, 0, f"the answer names {ref or 'nothing'!r:.80}"))


@dataclass(frozen=True, slots=True)
class _Session:
    """An account, and what is done in its name."""

    calls: KaggleCalls
    uploader: Uploader
    account: str

    @property
    def api(self) -> Any:
        """The part of the client that knows datasets."""
        return self.calls.client.datasets.dataset_api_client


def _introspect(calls: KaggleCalls, credentials: Credentials) -> str:
    from kagglesdk.security.types.oauth_service import IntrospectTokenRequest

    request = IntrospectTokenRequest()
    request.token = credentials.token
    answer = calls.call(
        calls.client.security.oauth_client.introspect_token, request, what=f"the token in {credentials.found}"
    )
    if not answer.active or not answer.username:
        raise ConfigError(f"Kaggle: the token in {credentials.found} is not valid any more; make a new one")
    return str(answer.username)


def _types() -> Any:
    """Return the SDK's requests about datasets; it is imported only when something is published."""
    from kagglesdk.datasets.types import dataset_api_service

    return dataset_api_service


def _named(request: Any, identity: KaggleId) -> Any:
    request.owner_slug, request.dataset_slug = identity.owner, identity.slug
    return request


def _marked(found: Any) -> str | None:
    """Return the digest of the dataset in the current version: by its notes, else by the description."""
    notes = [each.version_notes for each in found.versions or [] if each.version_number == found.current_version_number]
    for text in (*notes, found.description):
        if marks := _MARK.findall(text or ""):
            return str(marks[-1])
    return None
