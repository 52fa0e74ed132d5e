"""Publishing a dataset: checks everything before the first byte is sent, sends what is missing, and keeps a receipt."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

from pipeline.audit.auditing import audit_dataset
from pipeline.card.contents import describe_card, gather_rows
from pipeline.card.files import METADATA_FILE
from pipeline.card.folder import card_files
from pipeline.errors import RefusedError
from pipeline.files import locked, write_content
from pipeline.look.fact_sheet import size_text
from pipeline.publish.options import PublishOptions, choose_licence
from pipeline.publish.proof import Proof, prove_clean
from pipeline.publish.published_files import PublishedFile, dataset_files, read_file
from pipeline.publish.receipt import Receipt, ReceiptBook, SentFile
from pipeline.publish.remote import FailedError, Metadata, Remote, RemoteState
from pipeline.shards.dataset import Dataset, open_dataset
from pipeline.shards.progress import Progress
from pipeline.source.origin import is_at_hand

Outcome: TypeAlias = Literal["published", "already there", "would be published"]


@dataclass(frozen=True, slots=True)
class Publication:
    """The outcome of publishing.

    Attributes:
        outcome: what was done.
        dataset: the dataset.
        before: what was there before.
        receipt: what is there now; after a dry run, what would be.
        receipt_file: where the receipt is kept, if it is.
        n_sent: bytes that were sent now.
        proof: where the proof comes from, if one was needed.
    """

    outcome: Outcome
    dataset: Dataset
    before: RemoteState
    receipt: Receipt
    receipt_file: Path | None
    n_sent: int = 0
    proof: str | None = None

    @property
    def n_bytes(self) -> int:
        """Bytes of all files that it has there."""
        return sum(file.bytes for file in self.receipt.files)


def publish_dataset(
    dataset: Dataset | Path | str,
    remote: Remote,
    options: PublishOptions,
    *,
    source_folder: Path | None = None,
    report_file: Path | None = None,
    jobs: int = -1,
    progress: Progress | None = None,
    say: Callable[[str], object] = str,
) -> Publication:
    """Publish a dataset with its card, all of it or nothing; what is there already is not sent again.

    Args:
        dataset: its folder, or the dataset, opened.
        remote: where to.
        options: as what.
        source_folder: where the source is, if not where build-info.json remembers it.
        report_file: the report of an audit, instead of the one of the card or one that is made now.
        jobs: threads of the audit.
        progress: progress callback of the audit.
        say: callback for what is being done.

    Raises:
        RefusedError: it must not be published as it is.
        DamagedError: it differs from its own records.
        DatasetError: it cannot be read, or nothing proves that it does not leak.
        RemoteError: it could not be sent, or was not accepted.
        StorageError: it is being published already, or no receipt can be written.
    """
    dataset = open_dataset(dataset)
    source = dataset.record.source
    if source.synthetic and not options.allow_phantom:
        raise RefusedError(
            f"{dataset.folder}: not published, it is made of a synthetic stack and shows no real tissue; "
            "publish it with --allow-phantom if that is what you want"
        )
    licence = choose_licence(options.licence, source.licence)
    remote.check()
    book = ReceiptBook(dataset.folder)
    book.require_writable()
    publisher = _Publisher(dataset, remote, options, licence, book, say)
    busy = f"{dataset.folder}: is being built or published by another augpipe; wait for it"
    with (
        locked(dataset.folder, busy=busy),
        tempfile.TemporaryDirectory(prefix="augpipe-card-") as staging,
        gather_rows(dataset) as rows,
    ):
        files = dataset_files(dataset)
        last = book.find(remote.name, dataset.digest)
        if last and (there := publisher.still_there(last)):
            return there
        audit = partial(
            audit_dataset,
            dataset,
            source_folder=source_folder,
            gap=options.gap,
            jobs=jobs,
            progress=progress,
            on_row=rows.add,
        )
        proof = prove_clean(
            dataset,
            gap=options.gap,
            report_file=report_file,
            has_source=source_folder is not None or is_at_hand(dataset),
            audit=audit,
            say=say,
        )
        card = card_files(
            describe_card(
                dataset, proof.report, rows, source=source_folder, licence=licence, is_rechecked=proof.is_rechecked
            ),
            source=source_folder,
            url=options.identity.url if options.identity else None,
            dataset_id=str(options.identity) if options.identity else None,
            title=options.title,
        )
        files += _write_card(card, Path(staging))
        metadata = Metadata.from_json((Path(staging) / METADATA_FILE).read_bytes(), options, dataset.digest)
        return publisher.deliver(metadata, tuple(file for file in files if file.name not in remote.unused), proof, last)


def _write_card(card: Mapping[str, bytes | Path], folder: Path) -> tuple[PublishedFile, ...]:
    """Write the card to where it can be sent from."""
    for name, content in card.items():
        write_content(folder / name, content)
    return tuple(read_file(folder / name) for name in sorted(card))


# What is done, by what is there and by the last receipt of this very dataset at this remote:
#
#   there                      receipt                           sent     described      outcome
#   this dataset               ready, nothing else asked for     nothing  no             already there
#   its version, unmarked      ready, nothing else asked for     nothing  no             already there
#   any dataset                accepted, same licence            nothing  anew           published
#   this dataset               none, or ready but another title  nothing  what differs   already there
#   this dataset               another licence                   all      anew           published, a new version
#   another dataset, unmarked  none, ready or another licence    all      anew           published, a new version
#   nothing                    any                               all      anew           published, a new dataset
#
# "Nothing else asked for" is the same licence, which the card tells, and no title. `still_there` decides the first two
# rows, before an audit; `deliver` the others, which end when the version is ready, described and so in its receipt.
# Without a receipt, this dataset was published from another machine, or the receipt or Kaggle's answer was lost. An
# accepted version may not be visible yet, so that what is there may still be the one before.


@dataclass(frozen=True, slots=True, eq=False)
class _Publisher:
    """One publication."""

    dataset: Dataset
    remote: Remote
    options: PublishOptions
    licence: str
    book: ReceiptBook
    say: Callable[[str], object]

    def still_there(self, last: Receipt) -> Publication | None:
        """Return what the receipt says was published, if it is still there and nothing else is asked for."""
        if last.state != "ready" or self.options.title is not None or self.licence != last.licence:
            return None
        state = self._look()
        unmarked = state.dataset_sha256 is None and state.version is not None and state.version == last.version
        if not state.exists or not (unmarked or state.dataset_sha256 == self.dataset.digest):
            return None
        return Publication("already there", self.dataset, state, last, self.book.path)

    def deliver(
        self, metadata: Metadata, files: tuple[PublishedFile, ...], proof: Proof, last: Receipt | None
    ) -> Publication:
        """Send what is missing, show it, wait until it is ready, and describe it."""
        state = self._look()
        relicensed = last is not None and last.licence != self.licence
        accepted = last is not None and last.state == "accepted" and state.exists and not relicensed
        found = state.dataset_sha256 == self.dataset.digest and not relicensed
        receipt = Receipt(
            dataset=self.dataset.folder.resolve().name,
            dataset_sha256=self.dataset.digest,
            remote=self.remote.name,
            url="",
            state="accepted",
            version=state.version if found else None,
            after=None if found else state.version,
            licence=self.licence,
            gap=proof.report.gap,
            files=tuple(SentFile(file.name, file.n_bytes, file.sha256) for file in files),
        )
        outcome: Outcome = "already there" if found and not accepted else "published"
        if self.options.dry_run:
            outcome = "already there" if found else "would be published"
            return Publication(outcome, self.dataset, state, receipt, None, proof=proof.origin)
        n_sent = 0
        if last is not None and accepted:
            receipt = last
        elif not found:
            with self.remote.hold():
                n_sent = sum(map(self._send, files))
                receipt = replace(receipt, url=self.remote.commit(metadata, files, state))
            self.book.write(receipt)
        receipt = self._wait(receipt)
        self.remote.describe(metadata, files, anew=accepted or not found)
        receipt = replace(receipt, state="ready")
        self.book.write(receipt)
        return Publication(outcome, self.dataset, state, receipt, self.book.path, n_sent, proof.origin)

    def _look(self) -> RemoteState:
        """Return what is there, unless a new version of it would be visible against the user's will."""
        state = self.remote.look()
        if self.options.private and state.exists and state.public:
            raise RefusedError(
                "--private: not published, this dataset is public there, and a new version of it would be, too; "
                "choose another --id, or make it private there first"
            )
        return state

    def _send(self, file: PublishedFile) -> int:
        self.say(f"sending {file.name} ({size_text(file.n_bytes)})")
        return self.remote.send(file)

    def _wait(self, receipt: Receipt) -> Receipt:
        """Return the receipt of what can be seen now; of a version that failed, none is kept."""
        self.say("waiting until it is ready")
        try:
            published = self.remote.wait(receipt.after)
        except FailedError:
            self.book.remove(self.remote.name)
            raise
        receipt = replace(receipt, url=published.url, version=published.version)
        self.book.write(receipt)
        return receipt
