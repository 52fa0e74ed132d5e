"""What a dataset's records tell: faults of its digests, and slices that splits share or that lie too near."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from augment.gray import IMAGE_DTYPES
from pipeline.audit.report import Check, Finding
from pipeline.audit.subject import planned_slices
from pipeline.audit.usage import Unit, Usage, Use, UseCounter, find_near, find_shared, find_spread, require_gap
from pipeline.shards.dataset import Dataset
from pipeline.shards.digest import array_digest
from pipeline.shards.manifest import ManifestRow
from pipeline.shards.record import DatasetRecord
from pipeline.source.stacks import Source

if TYPE_CHECKING:
    from pipeline.verify.samples import Fault

NO_NEIGHBOURS = "the slices are fields of view without neighbours"

_CHECK_OF = {"record": "M001", "digest": "M002", "replay": "R001"}
_ADVICE = {
    "M001": "do not use it as it is; build it again, or download it again",
    "M002": "its bytes are not those that were built; build it again, or download it again",
    "R001": "its pixels or its recipe were changed; build it again",
}
_MAX_PX = 1 << 24


@dataclass(frozen=True, slots=True)
class RecordAudit:
    """What M001 to M005 and R001 found, and how each of them ended; `n_replayed` samples were rendered again."""

    findings: list[Finding]
    checks: list[Check]
    usage: Usage
    unread: str
    n_replayed: int


def check_records(
    dataset: Dataset,
    *,
    gap: int,
    jobs: int = -1,
    source: Source | None = None,
    on_row: Callable[[ManifestRow], None] | None = None,
) -> RecordAudit:
    """Return what M001 to M005 find in a dataset's records and bytes, and R001 where the source is at hand.

    Where the manifest cannot be read to its end, M003 to M005 look at what comes before, and did not pass.

    Args:
        dataset: the dataset.
        gap: slices of two splits must be further apart than this.
        jobs: threads to compute digests in.
        source: what it was made from, to render samples again.
        on_row: called with every row of the manifest, which is read once.

    Raises:
        ConfigError: the gap is below 0.
        DatasetError: there is no dataset that could be checked.
    """
    from pipeline.verify.verification import verify_dataset

    require_gap(gap)
    counter = UseCounter()

    def count(row: ManifestRow) -> None:
        counter.add(use_of(row))
        if on_row:
            on_row(row)

    verification = verify_dataset(dataset, jobs=jobs, source=source, on_row=count)
    usage, unread, n = counter.usage, verification.unread, dataset.n
    independent = dataset.record.config.independent
    members = set() if independent else usage.members | planned_members(dataset.record)
    findings = [
        *find_faults(verification.faults),
        *find_shared(usage, blank_digests(dataset.record) if usage.shared_contents else ()),
        *find_near(members, gap),
        *find_spread(usage.units, total=len(usage.units)),
    ]
    failed = {finding.check for finding in findings}
    n_missed = n - verification.n_checked
    missed = f"the digests of {n_missed} of {n} samples could not be compared" if n_missed else ""
    checks = [
        _check("M001", failed, n),
        _check("M002", failed, verification.n_checked, missed),
        _check("M003", failed, len(usage.contents), unread),
        _check("M004", failed, len({unit for unit, _ in members}), unread),
        _check("M005", failed, len(usage.units), unread),
    ]
    if independent:
        checks[3] = Check("M004", "not applicable", reason=NO_NEIGHBOURS)
    if source:
        replayed = _check("R001", failed, 0 if unread else verification.n_replayed, unread)
        checks.append(replayed)
    return RecordAudit(findings, checks, usage, unread, 0 if unread else verification.n_replayed)


def find_faults(faults: Iterable["Fault"]) -> list[Finding]:
    """Return the findings that faults of a verification are: M001, M002, or R001 where it replayed."""
    checks = ((_CHECK_OF[fault.kind], fault) for fault in faults)
    return [Finding(check, "error", fault.text, _ADVICE[check], fault.sample) for check, fault in checks]


def use_of(row: ManifestRow) -> Use:
    """Return what a row of a manifest says of slices and splits."""
    return Use(row.id, row.split, Unit(f"stack {row.stack}", row.z), row.source_sha256)


def planned_members(record: DatasetRecord) -> set[tuple[Unit, str]]:
    """Return every slice with every split that dataset.json gives it to, whether it has samples or not."""
    return {(Unit(f"stack {address.stack}", address.z), split) for address, split in planned_slices(record)}


def blank_digests(record: DatasetRecord) -> frozenset[str]:
    """Return the digests of slices of one gray level: lost sections, which show no tissue that could leak.

    Of more than 8 bits, the darkest and the brightest gray level and 0 are known, not all.
    """
    kinds = {(stack.slice_size, stack.images.dtype) for stack in record.inputs}
    return frozenset(
        array_digest(np.full(size, level, dtype))
        for size, dtype in kinds
        if dtype in IMAGE_DTYPES and math.prod(size) <= _MAX_PX
        for level in _levels(np.dtype(dtype))
    )


def _check(check: str, failed: set[str], n: int, unread: str = "") -> Check:
    if check in failed:
        return Check(check, "failed", n)
    return Check(check, "not run", n, unread) if unread else Check(check, "passed", n)


def _levels(dtype: np.dtype[Any]) -> tuple[float, ...]:
    if dtype.kind == "f":
        return 0.0, 1.0
    limits = np.iinfo(dtype)
    return tuple(range(256)) if dtype == np.uint8 else (0, limits.min, limits.max)
