"""The conductor: checks everything before the first byte leaves, sends what is missing, shows it, keeps a receipt."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from augment.errors import RefusedError
from pipeline.audit.conductor import audit_dataset
from pipeline.audit.progress import AuditProgress
from pipeline.audit.report import AuditReport
from pipeline.audit.usage import require_gap
from pipeline.config import DEFAULT_GAP
from pipeline.publish.card import CardWriter, plain_card, read_metadata, state_gap, write_metadata
from pipeline.publish.kaggle_remote import FailedError
from pipeline.publish.licences import choose_licence
from pipeline.publish.listing import make_listing, own_metadata
from pipeline.publish.naming import KaggleId, check_title
from pipeline.publish.parcel import Item, card_items, dataset_items
from pipeline.publish.proof import Proof, prove_clean
from pipeline.publish.receipt import Receipt, ReceiptBook
from pipeline.publish.remote import Listing, Remote, RemoteState
from pipeline.shards.record import DatasetRecord, read_record

Outcome: TypeAlias = Literal["published", "already there", "would be published"]


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be published, and how.

    Attributes:
        identity: its id on Kaggle.
        title: its title; the card's unless given.
        licence: its licence, by Kaggle's name; the source's unless given.
        private: whether nobody else may see it.
        notes: what is new in this version.
        gap: slices of two splits must be further apart than this.
        allow_phantom: whether a synthetic stack may be published.
        dry_run: send nothing.
    """

    identity: KaggleId | None = None
    title: str | None = None
    licence: str | None = None
    private: bool = False
    notes: str = ""
    gap: int = DEFAULT_GAP
    allow_phantom: bool = False
    dry_run: bool = False

    @property
    def url(self) -> str | None:
        """Where it will be found, if it is published to Kaggle."""
        return f"https://www.kaggle.com/datasets/{self.identity}" if self.identity else None

    def __post_init__(self) -> None:
        require_gap(self.gap)
        if self.title is not None:
            check_title(self.title)


@dataclass(frozen=True, slots=True)
class Publication:
    """What became of an order.

    Attributes:
        outcome: what was done.
        record: the dataset.
        remote: where.
        state: what was there before.
        url: where it is now.
        version: which version it is, where there are versions.
        n_sent: bytes that were sent now.
        n_bytes: bytes of all files.
        n_files: how many files.
        proof: where the proof comes from, if one was needed.
        receipt: the file that tells of it, if there is one.
    """

    outcome: Outcome
    record: DatasetRecord
    remote: str
    state: RemoteState | None
    url: str
    version: int | None
    n_sent: int
    n_bytes: int
    n_files: int
    proof: str | None
    receipt: Path | None


def publish_dataset(
    folder: Path | str,
    remote: Remote,
    order: Order,
    *,
    source_folder: Path | None = None,
    report_file: Path | None = None,
    card: CardWriter = plain_card,
    jobs: int = -1,
    progress: AuditProgress | None = None,
    say: Callable[[str], object] = str,
) -> Publication:
    """Publish a dataset with its card, all of it or nothing; what is there already is not sent again.

    Args:
        folder: the dataset.
        remote: where to.
        order: as what.
        source_folder: where the source is, if not where build-info.json remembers it.
        report_file: the report of an audit, instead of the one of the card or one that is made now.
        card: writes the card.
        jobs: threads of the audit.
        progress: is told how far the audit is.
        say: is told what is being done.

    Raises:
        RefusedError: it must not be published as it is.
        DamagedError: it is not what its records say.
        DatasetError: it cannot be read, or nothing proves that it does not leak.
        RemoteError: it could not be sent, or was not taken.
    """
    record = read_record(Path(folder))
    _refuse_synthetic(record, order)
    licence = choose_licence(order.licence, record.values.get("source"))
    remote.check()
    items = dataset_items(record)
    book = ReceiptBook(record.folder)
    if there := _find_there(record, remote, book, order):
        return there

    def audit() -> AuditReport:
        say("auditing the dataset")
        return audit_dataset(record.folder, source_folder=source_folder, gap=order.gap, jobs=jobs, progress=progress)

    proof = prove_clean(record, gap=order.gap, report_file=report_file, audit=audit)
    with tempfile.TemporaryDirectory(prefix="augpipe-card-") as staging:
        listing = _write_card(record, Path(staging), card, proof, order, licence, source_folder)
        parcel = tuple(item for item in (*items, *card_items(Path(staging), items)) if remote.wants(item))
        return _send(record, remote, listing, parcel, book, proof, order, say)


def _refuse_synthetic(record: DatasetRecord, order: Order) -> None:
    source = record.values.get("source")
    if isinstance(source, dict) and source.get("synthetic") is True and not order.allow_phantom:
        raise RefusedError(
            f"{record.folder}: not published, it is made of a synthetic stack and shows no real tissue; "
            "publish it with --allow-phantom if that is what you want"
        )


def _find_there(record: DatasetRecord, remote: Remote, book: ReceiptBook, order: Order) -> Publication | None:
    """Return what the receipt says was published already, if it is still there."""
    last = book.find(remote.name)
    if last is None or last.dataset_sha256 != record.sha256:
        return None
    if last.state == "accepted" and not order.dry_run:
        last = _wait(remote, book, last)
        state = None
    else:
        state = remote.look()
        same_version = state.version is not None and state.version == last.version
        if not state.exists or state.dataset_sha256 not in (record.sha256, None):
            return None
        if state.dataset_sha256 is None and not same_version:
            return None
    n_bytes = sum(each["bytes"] for each in last.files)
    return Publication(
        "already there",
        record,
        remote.name,
        state,
        last.url,
        last.version,
        0,
        n_bytes,
        len(last.files),
        None,
        book.path,
    )


def _write_card(
    record: DatasetRecord,
    staging: Path,
    card: CardWriter,
    proof: Proof,
    order: Order,
    licence: str,
    source_folder: Path | None,
) -> Listing:
    card(record, staging, report=proof.report, source_folder=source_folder, url=order.url)
    state_gap(staging, proof.report, independent=record.values["split"]["independent"] is True)
    metadata = own_metadata(
        staging, read_metadata(staging), record, identity=order.identity, title=order.title, licence=licence
    )
    write_metadata(staging, metadata)
    return make_listing(staging, metadata, record, private=order.private, notes=order.notes)


def _send(
    record: DatasetRecord,
    remote: Remote,
    listing: Listing,
    items: tuple[Item, ...],
    book: ReceiptBook,
    proof: Proof,
    order: Order,
    say: Callable[[str], object],
) -> Publication:
    n_bytes = sum(item.n_bytes for item in items)
    state = remote.look()
    planned = Publication(
        "would be published", record, remote.name, state, "", None, 0, n_bytes, len(items), proof.found, None
    )
    there = state.dataset_sha256 == record.sha256
    if order.dry_run:
        return replace(planned, outcome="already there", version=state.version) if there else planned
    files = tuple({"file": item.name, "bytes": item.n_bytes, "sha256": item.sha256} for item in items)
    receipt = Receipt(
        dataset=record.folder.resolve().name,
        dataset_sha256=record.sha256,
        remote=remote.name,
        url="",
        state="accepted",
        version=None,
        after=state.version,
        licence=listing.licence,
        gap=proof.report.gap,
        files=files,
    )
    if there:  # its receipt was lost, or another machine published it
        published = remote.wait(None)
        book.write(replace(receipt, state="ready", url=published.url, version=published.version))
        return replace(
            planned, outcome="already there", url=published.url, version=published.version, receipt=book.path
        )
    n_sent = 0
    for item in items:
        say(f"sending {item.name} ({item.n_bytes / 1e6:.1f} MB)")
        n_sent += remote.send(item)
    receipt = replace(receipt, url=remote.commit(listing, items, state))
    book.write(receipt)
    say("waiting until it is ready")
    done = _wait(remote, book, receipt)
    return replace(planned, outcome="published", url=done.url, version=done.version, n_sent=n_sent, receipt=book.path)


def _wait(remote: Remote, book: ReceiptBook, receipt: Receipt) -> Receipt:
    """Return the receipt of what is ready now; of a version that failed, none is kept."""
    try:
        published = remote.wait(receipt.after)
    except FailedError:
        book.remove(remote.name)
        raise
    receipt = replace(receipt, state="ready", url=published.url, version=published.version)
    book.write(receipt)
    return receipt
