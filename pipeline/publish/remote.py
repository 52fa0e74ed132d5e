"""A place to publish to, such as Kaggle or a folder: what it can do, what it is given and what it answers."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.card.kaggle_terms import mark
from pipeline.errors import RemoteError
from pipeline.publish.options import PublishOptions
from pipeline.publish.published_files import PublishedFile
from pipeline.shards.digest import parse_json


@dataclass(frozen=True, slots=True)
class Metadata:
    """What describes a published dataset.

    Attributes:
        title: its title.
        retitle: whether a dataset that exists already is to get this title, too.
        subtitle: a line below it, or nothing.
        description: the card, in Markdown.
        licence: as Kaggle spells it.
        keywords: tags.
        private: whether nobody else may see it.
        notes: what is new in this version.
        resources: descriptions of single files, as in dataset-metadata.json.
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

    @classmethod
    def from_json(cls, text: bytes, options: PublishOptions, dataset_sha256: str) -> "Metadata":
        """Return what the card's dataset-metadata.json and the options say.

        Args:
            text: dataset-metadata.json, made for these options.
            options: how the dataset is to be published.
            dataset_sha256: the digest of its dataset.json, by which it is recognised.
        """
        values = parse_json(text)
        return cls(
            title=values["title"],
            retitle=options.title is not None,
            subtitle=values["subtitle"],
            description=values["description"],
            licence=values["licenses"][0]["name"],
            keywords=tuple(values["keywords"]),
            private=options.private,
            notes="; ".join(filter(None, (options.notes, mark(dataset_sha256)))),
            resources=tuple(values["resources"]),
            update_frequency=values["expectedUpdateFrequency"],
            sources=values["userSpecifiedSources"],
        )


@dataclass(frozen=True, slots=True)
class RemoteState:
    """What a remote holds.

    Attributes:
        exists: whether there is a dataset of that id.
        version: the number of its current version, where there are versions.
        dataset_sha256: the digest of the dataset in it, where that is known.
        public: whether everybody can see it.
        url: its address, where that is known.
    """

    exists: bool
    version: int | None = None
    dataset_sha256: str | None = None
    public: bool = False
    url: str = ""


class FailedError(RemoteError):
    """A version that was accepted, and will never be ready."""


class Remote(Protocol):
    """A place that takes files one by one, and shows all of them at once or none.

    Attributes:
        name: `kaggle owner/slug`, or `folder PATH`.
        unused: names of files of the card that it has no use for.
    """

    name: str
    unused: frozenset[str]

    def check(self) -> None:
        """Check, before anything else, all that can be checked without asking the remote."""

    def look(self) -> RemoteState:
        """Return what is there."""

    def hold(self) -> AbstractContextManager[None]:
        """Keep others from sending there meanwhile, where the remote allows that."""

    def send(self, file: PublishedFile) -> int:
        """Send what is missing of a file, and return how many bytes that was."""

    def commit(self, metadata: Metadata, files: tuple[PublishedFile, ...], state: RemoteState) -> str:
        """Show the files that were sent, as a new dataset or a new version of it, and return its address."""

    def wait(self, after: int | None) -> RemoteState:
        """Wait until a version after this one is there for everyone, and return it."""

    def describe(self, metadata: Metadata, files: tuple[PublishedFile, ...], *, anew: bool) -> None:
        """Set what all versions share, such as the licence and the cover.

        Args:
            metadata: what describes the dataset.
            files: what was published.
            anew: set it whatever is there; otherwise only where it differs.
        """
