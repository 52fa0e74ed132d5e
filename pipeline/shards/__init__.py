"""Reading a dataset: lazy, typed, validated before use; needs numpy and h5py alone."""

from augment.errors import AugpipeError, ConfigError, DatasetError, StorageError
from pipeline.digest import StackDigest
from pipeline.shards.dataset import Dataset, Split, StoredSample, open_dataset
from pipeline.shards.record import DatasetRecord, ShardRecord, read_record
from pipeline.shards.shard import Shard

__all__ = [
    "AugpipeError",
    "ConfigError",
    "Dataset",
    "DatasetError",
    "DatasetRecord",
    "Shard",
    "ShardRecord",
    "Split",
    "StackDigest",
    "StorageError",
    "StoredSample",
    "open_dataset",
    "read_record",
]
