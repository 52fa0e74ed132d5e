"""What dataset.json must say: all that follows from its own options and inputs, worked out again."""

from collections.abc import Iterator
from dataclasses import fields
from itertools import zip_longest

from pipeline.errors import AugpipeError, DatasetError
from pipeline.plan.plan import Plan, describe_dataset, plan_from_inputs
from pipeline.shards.config import RENDERER_VERSION
from pipeline.shards.dataset import Dataset
from pipeline.shards.digest import bytes_digest, canonical_json
from pipeline.source.known_stacks import recognise


def plan_again(dataset: Dataset) -> Plan:
    """Return the plan that a dataset's own options and inputs give.

    Raises:
        DatasetError: it was made by another renderer version, or no build has such options and inputs.
    """
    path, record = dataset.record_path, dataset.record
    if record.renderer != RENDERER_VERSION:
        raise DatasetError(
            f"{path}: rendered by version {record.renderer}, this augpipe is version {RENDERER_VERSION}; "
            "check it with the augpipe that made it"
        )
    try:
        return plan_from_inputs(record.config, record.name, record.inputs, record.source, record.reading)
    except AugpipeError as error:
        raise DatasetError(f"{path}: not a dataset record of this version ({error})") from error


def check_record(dataset: Dataset, plan: Plan) -> Iterator[str]:
    """Yield every part of dataset.json that contradicts another, and whether the file is written in another way."""
    path, record = dataset.record_path, dataset.record
    if bytes_digest(canonical_json(record.to_json())) != dataset.digest:  # read, it says the same; cited, it is another
        yield (
            f"{path}: is not written as augpipe writes it (sorted keys, each once, no spaces, one newline at the end), "
            "so that its digest is not the one to cite; fetch it again, or build it again"
        )
    derived = describe_dataset(plan, record.inputs, record.source, record.manifest, record.shards, record.reading)
    for field in fields(record):
        if getattr(record, field.name) != getattr(derived, field.name):
            yield f"{path}: {field.name} is not what follows from its config and inputs"
    recorded = ((shard.file, shard.split, shard.n) for shard in record.shards)
    planned = ((shard.file, shard.split, shard.n) for shard in plan.shards())
    if any(shard != expected for shard, expected in zip_longest(recorded, planned)):
        yield f"{path}: its shards are not those that follow from its config"
    name, known = recognise(record.inputs, record.name)
    recorded_facts = record.source.to_json()
    if name != record.name or any(recorded_facts.get(key) != value for key, value in known.to_json().items()):
        yield f"{path}: what it says of its source is not what is known of these pixels"
