"""What is stored of a dataset's samples, held against their digests and, rendered again, against their recipes."""

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from augment.renderer import Sample
from pipeline.errors import ConfigError, DatasetError
from pipeline.plan.plan import Plan, PlannedSample
from pipeline.render.rendering import SampleRenderer, further_arrays, render_planned
from pipeline.shards.dataset import Dataset
from pipeline.shards.digest import array_digest, bytes_digest, content_digest, file_digest
from pipeline.shards.manifest import ManifestRow
from pipeline.shards.record import ShardRecord
from pipeline.shards.shard_file import Shard
from pipeline.shards.stored_files import find_stored_file, system_reason
from pipeline.source.stacks import Source

_MAX_HELD_BYTES = 1 << 27  # 128 MiB; a shard of the usual size has a quarter of it
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_OF_NAMES = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)  # what is at fault is in the dataset's folder

_OTHER_PIXELS = "rendering its recipe again gives other pixels than those recorded"
_OTHER = {
    "image": _OTHER_PIXELS,
    "label": _OTHER_PIXELS,
    "weights": "its label gives other weights than those recorded",
    "mask": "its recipe gives another mask than the one recorded",
}

FaultKind: TypeAlias = Literal["record", "digest", "replay"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is not as recorded.

    Attributes:
        kind: `digest` where a digest of a file, shard, manifest, image, label, weights, mask or source slice differs,
            `replay` where a recipe does not give the stored pixels, weights or mask again, `record` for all else.
        text: what was found, in one line.
        sample: the id of the sample, where it is about one.
    """

    kind: FaultKind
    text: str
    sample: str | None = None


class StoredDigests(NamedTuple):
    """What the manifest says of a stored sample, less its recipe."""

    id: str
    split: str
    row: int
    arrays: tuple[str, ...]


class Outcome(NamedTuple):
    """What one task of a check found, of which samples, and why it could not be done, where it could not."""

    faults: list[Fault]
    n_checked: int = 0
    n_replayed: int = 0
    error: DatasetError | None = None
    samples: tuple[str, ...] = ()


def check_shard(dataset: Dataset, shard: ShardRecord, rows: list[StoredDigests]) -> Outcome:
    """Return what is wrong with one shard's bytes, rows and arrays, and how many of its samples were compared."""
    path = dataset.folder / shard.file
    faults: list[Fault] = []
    try:
        target = find_stored_file(path)
        data = None
        if target.stat().st_size != shard.bytes:
            text = f"{path}: has {target.stat().st_size:,} bytes, dataset.json records {shard.bytes:,}"
            faults.append(Fault("digest", text))
        else:
            data = target.read_bytes() if shard.bytes <= _MAX_HELD_BYTES else None  # larger ones are read twice
            if (file_digest(target) if data is None else bytes_digest(data)) != shard.sha256:
                text = f"{path}: its bytes are not those that dataset.json records (its digest differs)"
                faults.append(Fault("digest", text))
        opened = dataset.open_shard(shard, data)
        try:
            faults += _check_rows(opened, rows, dataset.record.array_names(shard.split))
        finally:
            opened.close()
    except PermissionError as error:
        return Outcome(faults, error=DatasetError(f"{path}: may not be read, so it was not checked ({error.strerror})"))
    except (DatasetError, OSError) as error:
        if reason := _reason_of_system(error):
            return Outcome(faults, error=DatasetError(f"{path}: was not checked {reason}"))
        return Outcome([*faults, Fault("record", str(error))])
    return Outcome(faults, n_checked=shard.n, samples=tuple(row.id for row in rows))


def replay_sample(dataset: Dataset, source: Source, plan: Plan, renderer: SampleRenderer, row: ManifestRow) -> Outcome:
    """Return what is wrong with a sample when it is rendered again, if anything is.

    Where the source's labels decide on the recipe, that is drawn again, too: the plan must have the source's places.
    """
    fault = _replay_fault(dataset, source, plan, renderer, row)
    return Outcome([fault] if fault else [], n_replayed=1, samples=(row.id,))


def _replay_fault(
    dataset: Dataset, source: Source, plan: Plan, renderer: SampleRenderer, row: ManifestRow
) -> Fault | None:
    record = dataset.record

    def fault(text: str, kind: FaultKind = "replay") -> Fault:
        return Fault(kind, f"{row.id}: {text}", row.id)

    try:
        stack = source.stacks[row.stack]
        for z, sha256 in row.shown:
            if sha256 != stack.slice_sha256[z]:
                return fault(f"the digest of its slice {z} is not that of slice {z} of the source", "digest")
        if row.recipe.window != record.window:
            return fault(f"its recipe's window {row.recipe.window} is not the dataset's {record.window}")
        out = Sample(np.empty(record.image_shape, stack.images.dtype), np.empty(record.window, stack.labels.dtype))
        drawn = row.recipe
        if record.config.looks_at_labels:
            sample = PlannedSample(row.split, row.shard, row.row, row.stack, row.z, row.replicate)
            drawn = render_planned(plan, sample, renderer, out, record.arrays.ignore)
        else:
            renderer(row.stack, row.z, row.recipe, out)
    except IndexError:
        return fault("the source has no such slice")
    except ConfigError as error:
        return fault(f"its recipe cannot be rendered ({error})")
    if drawn != row.recipe:
        return fault("its recipe is not the one that the seed and the source's labels give")
    ignore = record.arrays.ignore
    further = further_arrays(out.label, row.recipe, stack, record.config, split=row.split, ignore=ignore)
    digests = {name: array_digest(array) for name, array in {**out._asdict(), **further}.items()}
    other = [name for name in {**digests, **row.digests} if digests.get(name) != row.digests.get(name)]
    return fault(_OTHER[other[0]]) if other else None


def _reason_of_system(error: BaseException | None) -> str:
    """Return why the system did not let a file be read, and what to do, where that is behind an error.

    That says nothing of the file.
    """
    while error:
        if isinstance(error, OSError) and error.errno not in _OF_NAMES and (reason := system_reason(error)):
            return f"({reason}); {'raise that limit' if error.errno in _SHORTAGES else 'run the same again'}"
        error = error.__cause__ or error.__context__
    return ""


def _check_rows(shard: Shard, rows: list[StoredDigests], names: tuple[str, ...]) -> Iterator[Fault]:
    """Yield the digests that differ.

    Raises:
        DatasetError: the shard holds other samples than these rows, or cannot be read to its end.
    """
    path, record = shard.path, shard.record
    places = [(row.split, row.row) for row in rows]
    if [row.id for row in rows] != shard.ids() or places != [(record.split, k) for k in range(len(shard))]:
        raise DatasetError(f"{path}: its samples are not those that the manifest lists for it")
    digests = []
    for k, row in enumerate(rows):
        found = {name: array_digest(shard.array(name, k)) for name in names}
        digests.append(tuple(found.values()))
        recorded = dict(zip(names, row.arrays, strict=False))
        for name, digest in found.items():
            if digest != recorded.get(name):
                text = f"{path}: the {name} of {row.id} (row {k}) is not what the manifest records"
                yield Fault("digest", text, row.id)
    if content_digest(digests) != record.content_sha256:
        yield Fault("digest", f"{path}: its content is not what dataset.json records")
