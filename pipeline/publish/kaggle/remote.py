"""Kaggle as a place to publish to."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.card.files import COVER_FILE, METADATA_FILE
from pipeline.errors import RemoteError
from pipeline.publish.kaggle import messages
from pipeline.publish.kaggle.credentials import Credentials, find_credentials
from pipeline.publish.kaggle.session import Clock, KaggleSession, Read, StatusError
from pipeline.publish.kaggle.uploads import Journal, Uploader
from pipeline.publish.options import KaggleId
from pipeline.publish.published_files import PublishedFile
from pipeline.publish.remote import FailedError, Metadata, RemoteState

_PENDING = (
    "NOT_YET_PERSISTED",
    "BLOBS_RECEIVED",
    "BLOBS_DECOMPRESSED",
    "BLOBS_COPIED_TO_SDS",
    "INDIVIDUAL_BLOBS_COMPRESSED",
    "REPROCESSING",
)
_READY = "READY"
_POLL_S, _MAX_WAIT_S = 10.0, 1800.0


class KaggleRemote:
    """A dataset on Kaggle, which may not exist yet.

    Args:
        identity: its owner and slug.
        dataset: the dataset's folder, beside which uploads are noted.
        clock: the time.
    """

    unused = frozenset({METADATA_FILE})  # which is told in requests, and is no file there

    def __init__(self, identity: KaggleId, dataset: Path, *, clock: Clock | None = None) -> None:
        self._id = identity
        self._named = {"owner_slug": identity.owner, "dataset_slug": identity.slug}  # as most requests name it
        self._dataset = dataset.resolve()
        self._clock = clock or Clock()
        self._tokens: dict[str, str] = {}
        self.name = f"kaggle {identity}"

    def check(self) -> None:
        """Find the credentials.

        Raises:
            ConfigError: there are none.
            RefusedError: others can read them.
        """
        _ = self._credentials

    def look(self) -> RemoteState:
        """Ask who we are, and what is there; wait while a version is being made, for Kaggle then takes no other."""
        account = self._session.account
        try:
            self._get()
        except StatusError as refusal:
            if refusal.status == 404 or (refusal.status == 403 and not self._is_listed(account)):
                return RemoteState(exists=False)
            raise
        status = self._settle()
        found = self._get()  # again: which version is the current one may have changed meanwhile
        return found if status == _READY else replace(found, dataset_sha256=None)

    def hold(self) -> AbstractContextManager[None]:
        """Do nothing: nobody can be kept from making a version meanwhile, and Kaggle takes one after the other."""
        return nullcontext()

    def send(self, file: PublishedFile) -> int:
        """Upload what is missing of a file."""
        self._tokens[file.name], n_sent = self._uploader.upload(file, cover=file.name == COVER_FILE)
        return n_sent

    def commit(self, metadata: Metadata, files: tuple[PublishedFile, ...], state: RemoteState) -> str:
        """Create the dataset, or a version of it, from files that are all there."""
        for file in files:
            file.require_unchanged()
        files = tuple(file for file in files if file.name != COVER_FILE)
        about = {resource["path"]: resource for resource in metadata.resources}
        shared = {
            "subtitle": metadata.subtitle or None,
            "description": metadata.description,
            "files": [messages.new_file(self._tokens[file.name], about.get(file.name, {})) for file in files],
            "category_ids": list(metadata.keywords),
        }
        if state.exists:
            from kagglesdk.datasets.types.dataset_api_service import ApiCreateDatasetVersionRequestBody

            name, what = "create_dataset_version", f"no new version of {self._id} was made"
            body = messages.fill(ApiCreateDatasetVersionRequestBody(), version_notes=metadata.notes, **shared)
            values: dict[str, Any] = {**self._named, "body": body}
        else:
            name, what = "create_dataset", f"{self._id} was not created"
            new = {"title": metadata.title, "license_name": metadata.licence, "is_private": metadata.private}
            values = {"owner_slug": self._id.owner, "slug": self._id.slug, **new, **shared}
        try:
            url = self._ask(
                name, values, lambda answer: messages.read_created(answer, self._id.slug), what=what, repeat=False
            )
        except StatusError as refusal:
            if refusal.status == 400:  # one of the uploads is of no use any more
                self._uploader.journal.forget(*files)
            raise
        self._uploader.journal.forget(*files)
        return url or self._id.url

    def wait(self, after: int | None) -> RemoteState:
        """Ask until Kaggle has made the version ready."""
        give_up = self._clock.now() + _MAX_WAIT_S
        while True:
            if (status := self._settle(existed=after is not None)) != _READY:
                raise FailedError(f"Kaggle: {self._id} was accepted and then became {status}; publish it again")
            found = self._get()
            if found.version is not None and found.version > (after or 0):
                return replace(found, url=found.url or self._id.url)
            self._pause(give_up, f"version {found.version} is still the current one")

    def describe(self, metadata: Metadata, files: tuple[PublishedFile, ...], *, anew: bool) -> None:
        """Set what its versions share: licence, sources, how often it changes, its cover, and a title if asked to."""
        what = f"{self._id} is there in full, but its licence, sources and cover could not be set"
        settings, differ = self._ask(
            "get_dataset_metadata", self._named, lambda answer: messages.read_settings(answer, metadata), what=what
        )
        if anew or differ:
            for file in files:
                if file.name == COVER_FILE:
                    if file.name not in self._tokens:
                        self.send(file)
                    settings.image = messages.new_cover(self._tokens[file.name])
            self._ask(
                "update_dataset_metadata", {**self._named, "settings": settings}, messages.require_updated, what=what
            )
        self._uploader.journal.forget(*files)

    @cached_property
    def _credentials(self) -> Credentials:
        return find_credentials()

    @cached_property
    def _session(self) -> KaggleSession:
        return KaggleSession(self._credentials, self._clock)

    @cached_property
    def _uploader(self) -> Uploader:
        return Uploader(self._session, Journal(self._dataset, self._session.account), self._clock)

    def _ask(
        self, name: str, values: dict[str, Any], read: Callable[[Any], Read], *, what: str, repeat: bool = True
    ) -> Read:
        """Return what is read in the answer to a request; see `KaggleSession.call`.

        Args:
            name: of a method of the SDK's client of datasets, such as get_dataset, which takes an ApiGetDatasetRequest.
            values: of the request.
            read: takes what is needed from the answer.
            what: what failed, for errors.
            repeat: whether it may be asked again when nobody knows whether it was done.
        """
        from kagglesdk.datasets.types import dataset_api_service

        request = getattr(dataset_api_service, f"Api{name.title().replace('_', '')}Request")()
        method = getattr(self._session.client.datasets.dataset_api_client, name)
        return self._session.call(method, messages.fill(request, **values), read, what=what, repeat=repeat)

    def _get(self) -> RemoteState:
        return self._ask("get_dataset", self._named, messages.read_dataset, what=f"{self._id} cannot be looked up")

    def _settle(self, *, existed: bool = True) -> str:
        """Wait until no version is being made, and return the status of the last one.

        Args:
            existed: whether the dataset was there before; a new one has no status, or a forbidden one, for a while.
        """
        give_up = self._clock.now() + _MAX_WAIT_S
        what = f"{self._id} has no status"
        while True:
            try:
                status = self._ask("get_dataset_status", self._named, lambda answer: str(answer.status.name), what=what)
            except StatusError as refusal:
                if existed or refusal.status not in (403, 404):
                    raise
                status = _PENDING[0]
            if status not in _PENDING:
                return status
            self._pause(give_up, f"its status is {status}")

    def _pause(self, give_up: float, why: str) -> None:
        if self._clock.now() >= give_up:
            raise RemoteError(
                f"Kaggle: {self._id} was not ready after {_MAX_WAIT_S / 60:.0f} minutes ({why}); run the same command "
                "again: it continues to wait, and sends nothing twice"
            )
        self._clock.sleep(_POLL_S)

    def _is_listed(self, account: str) -> bool:
        """Return whether its owner's datasets include it: Kaggle answers 403 for what does not exist, too."""
        from kagglesdk.datasets.types.dataset_enums import DatasetSelectionGroup

        own = account.lower() == self._id.owner.lower()
        whose = {"group": DatasetSelectionGroup.DATASET_SELECTION_GROUP_MY} if own else {"user": self._id.owner}
        refs = self._ask(
            "list_datasets",
            {"search": self._id.slug, **whose},
            lambda answer: [str(each.ref).strip("/").lower() for each in answer.datasets or []],
            what=f"the datasets of {self._id.owner} cannot be listed",
        )
        return str(self._id).lower() in refs
