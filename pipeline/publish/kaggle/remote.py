"""Kaggle as a place to publish to."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from pipeline.card.files import COVER_FILE, METADATA_FILE
from pipeline.errors import RemoteError
from pipeline.publish.clock import Clock
from pipeline.publish.kaggle.answers import Accepted, FoundDataset, read_accepted, read_dataset, read_settings
from pipeline.publish.kaggle.calls import StatusError
from pipeline.publish.kaggle.credentials import Credentials, find_credentials
from pipeline.publish.kaggle.files import new_file
from pipeline.publish.kaggle.session import KaggleSession, open_session
from pipeline.publish.kaggle.settings import picture
from pipeline.publish.naming import KaggleId
from pipeline.publish.parcel import Item
from pipeline.publish.remote import FailedError, Listing, Published, RemoteState

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
        self._opened: KaggleSession | None = None
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
        session = self._session
        try:
            self._get()
        except StatusError as refusal:
            if refusal.status == 404 or (refusal.status == 403 and not self._is_listed(session)):
                return RemoteState(exists=False)
            raise
        status = self._settle()
        found = self._get()  # again: which version is the current one may have changed meanwhile
        return RemoteState(
            exists=True,
            version=found.version,
            dataset_sha256=found.dataset_sha256 if status == _READY else None,
            public=found.public,
        )

    def _get(self) -> FoundDataset:
        request = _named(_types().ApiGetDatasetRequest(), self._id)
        session = self._session
        return session.calls.call(
            session.api.get_dataset, request, read_dataset, what=f"{self._id} cannot be looked up"
        )

    def wants(self, item: Item) -> bool:
        """All but the metadata, which are told in requests and are no file there."""
        return item.name != METADATA_FILE

    def hold(self) -> AbstractContextManager[None]:
        """Nobody can be kept from making a version meanwhile; Kaggle takes one after the other."""
        return nullcontext()

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
        try:
            answer = self._session.calls.call(method, request, read_accepted, what=what, repeat=False)
        except StatusError as refusal:
            if refusal.status == 400:  # one of the uploads is of no use any more
                self._session.uploader.forget(files)
            raise
        self._require_accepted(answer, what)
        self._session.uploader.forget(files)
        return answer.url or self._url

    def wait(self, after: int | None) -> Published:
        """Ask until Kaggle has made the version ready."""
        give_up = self._clock.now() + _PATIENCE_S
        while True:
            if (status := self._settle(known=after is not None)) != _READY:
                raise FailedError(f"Kaggle: {self._id} was accepted and then became {status}; publish it again")
            found = self._get()
            if found.version is not None and found.version > (after or 0):
                return Published(found.url or self._url, found.version)
            self._pause(give_up, f"version {found.version} is still the current one")

    def describe(self, listing: Listing, items: tuple[Item, ...], *, anew: bool) -> None:
        """Set what its versions share: licence, sources, how often it changes, its picture, and a title if asked to."""
        types, api, calls = _types(), self._session.api, self._session.calls
        what = f"{self._id} is there in full, but its licence, sources and cover could not be set"
        asked = _named(types.ApiGetDatasetMetadataRequest(), self._id)
        error, before, settings = calls.call(
            api.get_dataset_metadata, asked, lambda answer: read_settings(answer, listing), what=what
        )
        if error:
            raise RemoteError(calls.tell(what, 0, error))
        covers = tuple(item for item in items if item.name == COVER_FILE)
        if anew or not settings.to_dict().items() <= before.items():
            for cover in covers:
                if cover.name not in self._tokens:
                    self.send(cover)
                settings.image = picture(self._tokens[cover.name])
            request = _named(types.ApiUpdateDatasetMetadataRequest(), self._id)
            request.settings = settings
            errors = calls.call(api.update_dataset_metadata, request, lambda answer: list(answer.errors), what=what)
            if errors:
                raise RemoteError(calls.tell(what, 0, "; ".join(map(str, errors))))
        self._session.uploader.forget(items)

    def _settle(self, *, known: bool = True) -> str:
        """Wait until no version is being made, and return what became of the last one.

        Args:
            known: whether the dataset was there before; a new one has no status, or a forbidden one, for some moments.
        """
        request = _named(_types().ApiGetDatasetStatusRequest(), self._id)
        give_up = self._clock.now() + _PATIENCE_S
        while True:
            try:
                status = self._session.calls.call(
                    self._session.api.get_dataset_status,
                    request,
                    lambda answer: str(answer.status.name),
                    what=f"{self._id} has no status",
                )
            except StatusError as refusal:
                if known or refusal.status not in (403, 404):
                    raise
                status = _UNDER_WAY[0]
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
    def _session(self) -> KaggleSession:
        if self._opened is None:
            self._opened = open_session(self._credentials or find_credentials(), self._dataset, self._clock)
        return self._opened

    def _is_listed(self, session: KaggleSession) -> bool:
        """Return whether its owner's datasets hold it: Kaggle forbids to see what does not exist, too."""
        from kagglesdk.datasets.types.dataset_enums import DatasetSelectionGroup

        request = _types().ApiListDatasetsRequest()
        request.search = self._id.slug
        if session.account.lower() == self._id.owner.lower():
            request.group = DatasetSelectionGroup.DATASET_SELECTION_GROUP_MY
        else:
            request.user = self._id.owner
        refs = session.calls.call(
            session.api.list_datasets,
            request,
            lambda answer: [str(each.ref).strip("/").lower() for each in answer.datasets or []],
            what=f"the datasets of {self._id.owner} cannot be listed",
        )
        return str(self._id).lower() in refs

    def _require_accepted(self, answer: Accepted, what: str) -> None:
        """Refuse an answer that says, with status 200, that nothing was done."""
        if answer.error or answer.status.lower() not in ("", "ok"):
            raise RemoteError(self._session.calls.tell(what, 0, answer.error or f"its status is {answer.status}"))
        ref = answer.ref.rstrip("/").lower()
        if not ref.endswith(f"/{self._id.slug}") and ref != self._id.slug:
            raise RemoteError(self._session.calls.tell(what, 0, f"the answer names {ref or 'nothing'!r:.80}"))


def _types() -> Any:
    """Return the SDK's requests about datasets; it is imported only when something is published."""
    from kagglesdk.datasets.types import dataset_api_service

    return dataset_api_service


def _named(request: Any, identity: KaggleId) -> Any:
    request.owner_slug, request.dataset_slug = identity.owner, identity.slug
    return request
