"""The format on disk, and its reading: lazy, typed, validated before use; needs numpy and h5py alone."""

from pipeline.shards.dataset import Dataset, Split, StoredSample, open_dataset
from pipeline.shards.digest import StackDigest
from pipeline.shards.record import DatasetRecord, ShardRecord
from pipeline.shards.shard_file import Shard

__all__ = [
    "Dataset",
    "DatasetRecord",
    "Shard",
    "ShardRecord",
    "Split",
    "StackDigest",
    "StoredSample",
    "open_dataset",
]
