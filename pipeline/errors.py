"""What may fail, with which exit code, and the advice that a message ends with."""

from collections.abc import Iterable

from augment.errors import AugpipeError, ConfigError, MissingDependencyError, RecipeError

__all__ = [
    "INTERRUPTED",
    "AugpipeError",
    "ConfigError",
    "DamagedError",
    "DatasetError",
    "MissingDependencyError",
    "RecipeError",
    "RefusedError",
    "RemoteError",
    "SourceError",
    "StorageError",
    "UnknownSplitError",
    "advise",
    "counted",
    "exit_code",
]

INTERRUPTED = 130  # what a shell reports of a command that Ctrl-C ended
_MAX_NAMES = 40


class SourceError(AugpipeError):
    """An image or label stack that cannot be read, or not be trusted."""


class DatasetError(AugpipeError):
    """A dataset or shard that cannot be read, or not be trusted."""


class UnknownSplitError(ConfigError, KeyError):
    """A split that a dataset does not have."""

    __str__ = Exception.__str__  # that of KeyError would quote the message


class DamagedError(AugpipeError):
    """A dataset that was read, and is not what its own records say."""


class RefusedError(AugpipeError):
    """Something that was looked at, and must not leave this machine as it is."""


class RemoteError(AugpipeError):
    """A server that could not be reached, or did not do what it was asked to."""


class StorageError(AugpipeError):
    """A file or folder that could not be written: full disk, missing permission, another writer."""


def exit_code(error: BaseException) -> int:
    """Return what a failure means to the shell: 1 a finding, 2 wrong use, 3 could not be completed."""
    if isinstance(error, (DamagedError, RefusedError)):
        return 1
    return 2 if isinstance(error, ConfigError) else 3


def advise(name: str, known: Iterable[str]) -> str:
    """Return what to write instead of a name that does not exist: the nearest of the known ones, or one of them all.

    >>> advise("license", ["title", "licence"])
    'did you mean licence?'
    >>> advise("shard_size", ["size", "shard-size"])
    'did you mean shard-size?'
    >>> advise("colour", ["title", "licence"])
    'expected one of title, licence'
    """
    from difflib import get_close_matches

    by_form = {_form(other): other for other in known}
    meant = get_close_matches(_form(name), by_form, n=1)
    if meant:
        return f"did you mean {by_form[meant[0]]}?"
    names = list(by_form.values())
    return f"expected one of {', '.join(names[:_MAX_NAMES])}" + (", ..." if len(names) > _MAX_NAMES else "")


def counted(n: int, noun: str) -> str:
    """Return a number with its noun, in the plural but for 1.

    >>> counted(1, "finding"), counted(0, "sample")
    ('1 finding', '0 samples')
    """
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _form(name: str) -> str:
    return name.lower().replace("_", "-").replace(" ", "-").strip("-")
