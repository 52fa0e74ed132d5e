from .dataset import Dataset as Dataset
from .dataset import Split as Split
from .dataset import StoredSample as StoredSample
from .dataset import open_dataset as open_dataset
from .digest import StackDigest as StackDigest
from .record import DatasetRecord as DatasetRecord
from .record import ShardRecord as ShardRecord
from .shard_file import Shard as Shard
