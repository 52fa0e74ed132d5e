"""What a dataset's records tell: faults of its digests, and slices that splits share or that lie too near."""

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from augment.gray import IMAGE_DTYPES
from pipeline.audit.report import Check, Finding
from pipeline.audit.subject import planned_slices
from pipeline.audit.usage import Unit, Use, count_uses, find_near, find_shared, find_spread, require_gap
from pipeline.errors import DatasetError
from pipeline.shards.digest import array_digest
from pipeline.shards.manifest import ManifestRow, read_manifest
from pipeline.shards.record import MANIFEST_FILE, DatasetRecord, require_plain_file

if TYPE_CHECKING:
    from pipeline.verify.verification import Fault

NO_NEIGHBOURS = "the slices are fields of view without neighbours"

_CHECK_OF = {"record": "M001", "digest": "M002", "replay": "R001"}
_ADVICE = {
    "M001": "do not use it as it is; build it again, or download it again",
    "M002": "its bytes are not those that were built; build it again, or download it again",
    "R001": "its pixels or its recipe were changed; build it again",
}
_LARGEST_PX = 1 << 24


def check_records(record: DatasetRecord, *, gap: int, jobs: int = -1) -> tuple[list[Finding], list[Check]]:
    """Return what M001 to M005 find in a dataset's records and bytes, and how each of them ended.

    Where the manifest cannot be read to its end, M003 to M005 look at what comes before, and did not pass.

    Args:
        record: the dataset.
        gap: slices of two splits must be further apart than this.
        jobs: threads to compute digests in.

    Raises:
        ConfigError: the gap is below 0.
        DatasetError: there is no dataset that could be checked.
    """
    from pipeline.verify.verification import verify_dataset

    require_gap(gap)
    verification = verify_dataset(record.folder, jobs=jobs)
    unread: list[str] = []
    usage = count_uses(_until_unreadable(manifest_uses(_rows(record)), unread))
    members = set() if is_independent(record) else usage.members | planned_members(record)
    findings = [
        *find_faults(verification.faults),
        *find_shared(usage, blank_digests(record) if usage.shared_contents else ()),
        *find_near(members, gap),
        *find_spread(usage.units, total=len(usage.units)),
    ]
    failed = {finding.check for finding in findings}
    n_missed = record.n - verification.n_checked
    missed = f"the digests of {n_missed} of {record.n} samples could not be compared" if n_missed else ""
    checks = [
        _check("M001", failed, record.n),
        _check("M002", failed, verification.n_checked, missed),
        _check("M003", failed, len(usage.contents), *unread),
        _check("M004", failed, len({unit for unit, _ in members}), *unread),
        _check("M005", failed, len(usage.units), *unread),
    ]
    if is_independent(record):
        checks[3] = Check("M004", "not applicable", reason=NO_NEIGHBOURS)
    return findings, checks


def find_faults(faults: Iterable["Fault"]) -> list[Finding]:
    """Return the findings that faults of a verification are: M001, M002, or R001 where it replayed."""
    checks = ((_CHECK_OF[fault.kind], fault) for fault in faults)
    return [Finding(check, "error", fault.text, _ADVICE[check], fault.sample) for check, fault in checks]


def manifest_uses(rows: Iterable[ManifestRow]) -> Iterator[Use]:
    """Yield what the rows of a manifest say of slices and splits; their recipes are not kept."""
    for row in rows:
        yield Use(row.id, row.split, Unit(f"stack {row.stack}", row.z), row.source_sha256)


def planned_members(record: DatasetRecord) -> set[tuple[Unit, str]]:
    """Return every slice with every split that dataset.json gives it to, whether it has samples or not."""
    return {(Unit(f"stack {address.stack}", address.z), split) for address, split in planned_slices(record)}


def is_independent(record: DatasetRecord) -> bool:
    """Return whether dataset.json says that slices have no neighbours."""
    config = record.values.get("config")
    return isinstance(config, dict) and config.get("independent") is True


def blank_digests(record: DatasetRecord) -> frozenset[str]:
    """Return the digests of slices of one gray level: lost sections, which show no tissue that could leak.

    Of more than 8 bits, the darkest and the brightest gray level and 0 are known, not all.
    """
    try:
        inputs = [stack["images"] for stack in record.values["inputs"]]
        kinds = {(tuple(images["shape"][1:]), images["dtype"]) for images in inputs}
    except (LookupError, TypeError):
        return frozenset()
    return frozenset(
        array_digest(np.full(shape, level, dtype))
        for shape, dtype in kinds
        if dtype in IMAGE_DTYPES and _is_size(shape)
        for level in _levels(np.dtype(dtype))
    )


def _rows(record: DatasetRecord) -> Iterator[ManifestRow]:
    path = record.folder / MANIFEST_FILE
    require_plain_file(path)
    yield from read_manifest(path)


def _until_unreadable(uses: Iterable[Use], unread: list[str]) -> Iterator[Use]:
    """Yield what can be read, and leave the reason why there is no more."""
    try:
        yield from uses
    except DatasetError as error:
        unread.append(str(error))


def _check(check: str, failed: set[str], n: int, unread: str = "") -> Check:
    if check in failed:
        return Check(check, "failed", n)
    return Check(check, "not run", n, unread) if unread else Check(check, "passed", n)


def _is_size(shape: tuple[Any, ...]) -> bool:
    return len(shape) == 2 and all(type(side) is int and side > 0 for side in shape) and math.prod(shape) <= _LARGEST_PX


def _levels(dtype: np.dtype[Any]) -> tuple[float, ...]:
    if dtype.kind == "f":
        return 0.0, 1.0
    limits = np.iinfo(dtype)
    return tuple(range(256)) if dtype == np.uint8 else (0, limits.min, limits.max)
