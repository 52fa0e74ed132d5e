"""The conductor: checks everything before the first byte leaves, sends what is missing, shows it, keeps a receipt."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.audit.conductor import audit_dataset
from pipeline.audit.progress import AuditProgress
from pipeline.audit.report import AuditReport
from pipeline.card import card_files, describe_dataset
from pipeline.errors import RefusedError
from pipeline.files import held, write_atomically
from pipeline.look.fact_sheet import size_text
from pipeline.publish.licences import choose_licence
from pipeline.publish.listing import make_listing
from pipeline.publish.order import Order, Publication
from pipeline.publish.parcel import Item, dataset_items, make_item
from pipeline.publish.proof import Proof, prove_clean
from pipeline.publish.receipt import Receipt, ReceiptBook
from pipeline.publish.remote import FailedError, Listing, Remote, RemoteState
from pipeline.shards.record import DatasetRecord


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
    desk.book.require_writable()

    def audit(*, records_alone: bool) -> AuditReport:
        say("checking the records" if records_alone else "auditing the dataset")
        return audit_dataset(
            record.folder,
            source_folder=source_folder,
            gap=order.gap,
            manifest_only=records_alone,
            jobs=jobs,
            progress=progress,
        )

    busy = f"{record.folder}: is being published by another augpipe; wait for it"
    with held(record.folder, busy=busy), tempfile.TemporaryDirectory(prefix="augpipe-card-") as staging:
        items = dataset_items(record)
        last = _last_receipt(desk)
        if last and not _asks_for_more(order, licence, last) and (there := _still_there(desk, last)):
            return there
        proof = prove_clean(record, gap=order.gap, report_file=report_file, audit=audit)
        card = _card(desk, proof, licence, source_folder)
        items += _lay(card, Path(staging))
        items = tuple(item for item in items if remote.wants(item))
        return _deliver(desk, make_listing(card, record, order), items, proof, last)


def _refuse_synthetic(record: DatasetRecord, order: Order) -> None:
    source = record.values.get("source")
    if isinstance(source, dict) and source.get("synthetic") is True and not order.allow_phantom:
        raise RefusedError(
            f"{record.folder}: not published, it is made of a synthetic stack and shows no real tissue; "
            "publish it with --allow-phantom if that is what you want"
        )


def _last_receipt(desk: _Desk) -> Receipt | None:
    """Return the receipt of this very dataset at this place, if it was published there last."""
    last = desk.book.find(desk.remote.name)
    return last if last and last.dataset_sha256 == desk.record.sha256 else None


def _asks_for_more(order: Order, licence: str, last: Receipt) -> bool:
    """Return whether more is to be done than to look: another licence or title, or what an earlier run has left."""
    return last.state != "ready" or order.title is not None or licence != last.licence


def _still_there(desk: _Desk, last: Receipt) -> Publication | None:
    """Return what the receipt says was published already, if it is still there."""
    state = desk.remote.look()
    _refuse_showing(desk.order, state)
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


def _card(desk: _Desk, proof: Proof, licence: str, source_folder: Path | None) -> dict[str, bytes]:
    """Return the files of the card, made for where the dataset is going to be."""
    order = desk.order
    return card_files(
        describe_dataset(desk.record, proof.report, source=source_folder, licence=licence),
        source=source_folder,
        url=order.url,
        dataset_id=str(order.identity) if order.identity else None,
        title=order.title,
    )


def _lay(card: dict[str, bytes], folder: Path) -> tuple[Item, ...]:
    """Write the card where it can be sent from."""
    for name, data in card.items():
        write_atomically(folder / name, [data], n_bytes=len(data))
    return tuple(make_item(folder / name) for name in sorted(card))


def _deliver(desk: _Desk, listing: Listing, items: tuple[Item, ...], proof: Proof, last: Receipt | None) -> Publication:
    """Ask what is there, send what is missing, show it, wait until it is ready, and describe it."""
    state = desk.remote.look()
    _refuse_showing(desk.order, state)
    relicensed = last is not None and last.licence != listing.licence  # the card says another one
    found = state.dataset_sha256 == desk.record.sha256 and not relicensed
    taken = last is not None and last.state == "accepted" and state.exists and not relicensed  # and not seen ready
    publication = Publication(
        "would be published",
        desk.record,
        desk.remote.name,
        state,
        n_files=len(items),
        n_bytes=sum(item.n_bytes for item in items),
        proof=proof.found,
    )
    if desk.order.dry_run:
        return replace(publication, outcome="already there", version=state.version) if found else publication
    n_sent = 0
    if last is not None and taken:
        receipt = last
    elif found:  # its receipt was lost, or another machine published it
        receipt = _accepted(desk, listing, items, after=None, gap=proof.report.gap)
    else:
        receipt = _accepted(desk, listing, items, after=state.version, gap=proof.report.gap)
        with desk.remote.hold():
            n_sent = _send(desk, items)
            receipt = replace(receipt, url=desk.remote.commit(listing, items, state))
        desk.book.write(receipt)
    desk.say("waiting until it is ready")
    receipt = _wait(desk, receipt)
    desk.remote.describe(listing, items, anew=taken or not found)
    desk.book.write(replace(receipt, state="ready"))
    return replace(
        publication,
        outcome="already there" if found and not taken else "published",
        n_sent=n_sent,
        url=receipt.url,
        version=receipt.version,
        receipt=desk.book.path,
    )


def _refuse_showing(order: Order, state: RemoteState) -> None:
    if order.private and state.exists and state.public:
        raise RefusedError(
            "--private: not published, this dataset is public there, and a new version of it would be, too; "
            "choose another --id, or make it private there first"
        )


def _send(desk: _Desk, items: tuple[Item, ...]) -> int:
    n_sent = 0
    for item in items:
        desk.say(f"sending {item.name} ({size_text(item.n_bytes)})")
        n_sent += desk.remote.send(item)
    return n_sent


def _accepted(desk: _Desk, listing: Listing, items: tuple[Item, ...], *, after: int | None, gap: int) -> Receipt:
    return Receipt(
        dataset=desk.record.folder.resolve().name,
        dataset_sha256=desk.record.sha256,
        remote=desk.remote.name,
        url="",
        state="accepted",
        version=None,
        after=after,
        licence=listing.licence,
        gap=gap,
        files=tuple({"file": item.name, "bytes": item.n_bytes, "sha256": item.sha256} for item in items),
    )


def _wait(desk: _Desk, receipt: Receipt) -> Receipt:
    """Return the receipt of what can be seen now; of a version that failed, none is kept."""
    try:
        published = desk.remote.wait(receipt.after)
    except FailedError:
        desk.book.remove(desk.remote.name)
        raise
    receipt = replace(receipt, url=published.url, version=published.version)
    desk.book.write(receipt)
    return receipt
