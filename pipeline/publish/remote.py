"""A place to publish to, as the conductor sees it."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.errors import RemoteError
from pipeline.publish.parcel import Item


@dataclass(frozen=True, slots=True)
class Listing:
    """What a dataset is published as.

    Attributes:
        title: its title.
        retitle: whether a dataset that is there already is to get this title, too.
        subtitle: a line below it, or nothing.
        description: the card, in Markdown.
        licence: as Kaggle spells it.
        keywords: tags.
        private: whether nobody else may see it.
        notes: what is new in this version.
        resources: what there is to say about single files, as dataset-metadata.json says it.
        update_frequency: how often new versions are to be expected.
        sources: what it was made from.
    """

    title: str
    retitle: bool
    subtitle: str
    description: str
    licence: str
    keywords: tuple[str, ...]
    private: bool
    notes: str
    resources: tuple[Mapping[str, Any], ...]
    update_frequency: str
    sources: str


@dataclass(frozen=True, slots=True)
class RemoteState:
    """What is there already.

    Attributes:
        exists: whether there is a dataset of that id.
        version: the number of its current version.
        dataset_sha256: the digest of the dataset in it, where that is known.
        public: whether everybody can see it.
    """

    exists: bool
    version: int | None = None
    dataset_sha256: str | None = None
    public: bool = False


@dataclass(frozen=True, slots=True)
class Published:
    """What became of it.

    Attributes:
        url: where it is now.
        version: which version it is.
    """

    url: str
    version: int | None


class FailedError(RemoteError):
    """A version that was accepted, and will never be ready."""


class Remote(Protocol):
    """A place that takes files one by one, and shows them all at once or not at all."""

    @property
    def name(self) -> str:
        """What to call it: `kaggle owner/slug`, or `folder PATH`."""

    def check(self) -> None:
        """Check all that can be checked without asking it."""

    def look(self) -> RemoteState:
        """Ask what is there."""

    def wants(self, item: Item) -> bool:
        """Return whether it has a use for a file."""

    def hold(self) -> AbstractContextManager[None]:
        """Be the only one who sends there, as far as the place knows who does."""

    def send(self, item: Item) -> int:
        """Send what it does not have of a file, and return how many bytes that was."""

    def commit(self, listing: Listing, items: tuple[Item, ...], state: RemoteState) -> str:
        """Show the files that were sent, as a new dataset or a new version of it, and return its address."""

    def wait(self, after: int | None) -> Published:
        """Wait until a version after this one is there for everyone, and return it."""

    def describe(self, listing: Listing, items: tuple[Item, ...], *, anew: bool) -> None:
        """Set what is the dataset's and not a version's, such as its licence and its cover.

        Args:
            listing: what it is published as.
            items: what was sent.
            anew: set it whatever is there; otherwise only what is not as listed.
        """
