"""The conductor: checks everything before the first byte leaves, sends what is missing, shows it, keeps a receipt."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from augment.errors import RefusedError
from pipeline.audit.conductor import audit_dataset
from pipeline.audit.progress import AuditProgress
from pipeline.audit.report import AuditReport
from pipeline.publish.card import CardWriter, full_card, read_metadata, state_gap, write_metadata
from pipeline.publish.licences import choose_licence
from pipeline.publish.listing import make_listing, own_metadata
from pipeline.publish.lock import held
from pipeline.publish.order import Order, Publication
from pipeline.publish.parcel import Item, card_items, dataset_items
from pipeline.publish.proof import Proof, prove_clean
from pipeline.publish.receipt import Receipt, ReceiptBook
from pipeline.publish.remote import FailedError, Listing, Remote, RemoteState
from pipeline.shards.record import DatasetRecord, read_record


@dataclass(frozen=True, slots=True, eq=False)
class _Desk:
    """What every step of one publication needs."""

    record: DatasetRecord
    remote: Remote
    order: Order
    book: ReceiptBook
    say: Callable[[str], object]


def publish_dataset(
    folder: Path | str,
    remote: Remote,
    order: Order,
    *,
    source_folder: Path | None = None,
    report_file: Path | None = None,
    card: CardWriter = full_card,
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
        StorageError: it is being published already, or no receipt can be written.
    """
    record = read_record(Path(folder))
    desk = _Desk(record, remote, order, ReceiptBook(record.folder), say)
    _refuse_synthetic(record, order)
    licence = choose_licence(order.licence, record.values.get("source"))
    remote.check()

    def audit() -> AuditReport:
        say("auditing the dataset")
        return audit_dataset(record.folder, source_folder=source_folder, gap=order.gap, jobs=jobs, progress=progress)

    with held(record.folder, wait=False), tempfile.TemporaryDirectory(prefix="augpipe-card-") as staging:
        items = dataset_items(record)
        if there := _find_there(desk):
            return there
        proof = prove_clean(record, gap=order.gap, report_file=report_file, audit=audit)
        card(record, Path(staging), report=proof.report, source_folder=source_folder, url=order.url)
        listing = _list(desk, Path(staging), proof, licence)
        items = tuple(item for item in (*items, *card_items(Path(staging), items)) if remote.wants(item))
        return _deliver(desk, listing, items, proof)


def _refuse_synthetic(record: DatasetRecord, order: Order) -> None:
    source = record.values.get("source")
    if isinstance(source, dict) and source.get("synthetic") is True and not order.allow_phantom:
        raise RefusedError(
            f"{record.folder}: not published, it is made of a synthetic stack and shows no real tissue; "
            "publish it with --allow-phantom if that is what you want"
        )


def _find_there(desk: _Desk) -> Publication | None:
    """Return what the receipt says was published already, if it is still there."""
    last, state = desk.book.find(desk.remote.name), None
    if last is None or last.dataset_sha256 != desk.record.sha256:
        return None
    if last.state == "accepted" and not desk.order.dry_run:
        last = _wait(desk, last)
    else:
        state = desk.remote.look()
        unmarked = state.dataset_sha256 is None and state.version is not None and state.version == last.version
        if not state.exists or not (unmarked or state.dataset_sha256 == desk.record.sha256):
            return None
    return Publication(
        "already there",
        desk.record,
        desk.remote.name,
        state,
        n_files=len(last.files),
        n_bytes=sum(each["bytes"] for each in last.files),
        url=last.url,
        version=last.version,
        receipt=desk.book.path,
    )


def _list(desk: _Desk, staging: Path, proof: Proof, licence: str) -> Listing:
    """Return what the dataset is published as, after the card has got what only publishing knows."""
    order, record = desk.order, desk.record
    state_gap(staging, proof.report, independent=record.values["split"]["independent"] is True)
    metadata = own_metadata(
        staging, read_metadata(staging), record, identity=order.identity, title=order.title, licence=licence
    )
    write_metadata(staging, metadata)
    return make_listing(staging, metadata, record, private=order.private, notes=order.notes)


def _deliver(desk: _Desk, listing: Listing, items: tuple[Item, ...], proof: Proof) -> Publication:
    """Ask what is there, send what is missing, show it, and wait until it is ready."""
    state = desk.remote.look()
    _refuse_showing(listing, state)
    plan = Publication(
        "would be published",
        desk.record,
        desk.remote.name,
        state,
        n_files=len(items),
        n_bytes=sum(item.n_bytes for item in items),
        proof=proof.found,
    )
    there = state.dataset_sha256 == desk.record.sha256  # its receipt was lost, or another machine published it
    if desk.order.dry_run:
        return replace(plan, outcome="already there", version=state.version) if there else plan
    receipt = _accepted(desk, listing, items, state, proof)
    n_sent = 0
    if there:
        receipt = replace(receipt, after=None)
    else:
        n_sent = _send(desk, items)
        receipt = replace(receipt, url=desk.remote.commit(listing, items, state))
        desk.book.write(receipt)
    desk.say("waiting until it is ready")
    done = _wait(desk, receipt)
    return replace(
        plan,
        outcome="already there" if there else "published",
        n_sent=n_sent,
        url=done.url,
        version=done.version,
        receipt=desk.book.path,
    )


def _refuse_showing(listing: Listing, state: RemoteState) -> None:
    if listing.private and state.exists and state.public:
        raise RefusedError(
            "--private: not published, this dataset is public there, and a new version of it would be, too; "
            "choose another --id, or make it private there first"
        )


def _send(desk: _Desk, items: tuple[Item, ...]) -> int:
    n_sent = 0
    for item in items:
        desk.say(f"sending {item.name} ({item.n_bytes / 1e6:.1f} MB)")
        n_sent += desk.remote.send(item)
    return n_sent


def _accepted(desk: _Desk, listing: Listing, items: tuple[Item, ...], state: RemoteState, proof: Proof) -> Receipt:
    return Receipt(
        dataset=desk.record.folder.resolve().name,
        dataset_sha256=desk.record.sha256,
        remote=desk.remote.name,
        url="",
        state="accepted",
        version=None,
        after=state.version,
        licence=listing.licence,
        gap=proof.report.gap,
        files=tuple({"file": item.name, "bytes": item.n_bytes, "sha256": item.sha256} for item in items),
    )


def _wait(desk: _Desk, receipt: Receipt) -> Receipt:
    """Return the receipt of what is ready now; of a version that failed, none is kept."""
    try:
        published = desk.remote.wait(receipt.after)
    except FailedError:
        desk.book.remove(desk.remote.name)
        raise
    receipt = replace(receipt, state="ready", url=published.url, version=published.version)
    desk.book.write(receipt)
    return receipt
