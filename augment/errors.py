"""The failures that augpipe expects, each with the exit code that it means on the command line."""

from typing import ClassVar


class AugpipeError(Exception):
    """Base of every expected failure; its text is one line that says where, expected, got, what to do."""

    exit_code: ClassVar[int] = 3


class ConfigError(AugpipeError):
    """An option, or a combination of options and data, that cannot work as asked."""

    exit_code: ClassVar[int] = 2


class RecipeError(ConfigError):
    """A recipe whose numbers are missing, of the wrong shape, or out of range."""


class SourceError(AugpipeError):
    """An image or label stack that cannot be read, or not be trusted."""


class DatasetError(AugpipeError):
    """A dataset or shard that cannot be read, or not be trusted."""


class DamagedError(AugpipeError):
    """A dataset that was read, and is not what its own records say."""

    exit_code: ClassVar[int] = 1


class RefusedError(AugpipeError):
    """Something that was looked at, and must not leave this machine as it is."""

    exit_code: ClassVar[int] = 1


class RemoteError(AugpipeError):
    """A server that could not be reached, or did not do what it was asked to."""


class StorageError(AugpipeError):
    """A file or folder that could not be written: full disk, missing permission, another writer."""


class MissingDependencyError(AugpipeError):
    """An optional library is needed for what was asked, and is missing or broken."""
