"""What tifffile raises, logs and warns about a broken file, as one typed error.

It logs some damage where it should raise: a tag that it cannot read is dropped, and its pixels then mean other numbers.
"""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import AugpipeError, SourceError
from pipeline.source.colours import PixelError

_LOGGER = logging.getLogger("tifffile")
_lock = threading.RLock()  # tifffile's logger and Python's warning filters belong to the whole process


class TiffError(PixelError):
    """What is wrong with a file or a page of it; `tiff_errors` says with which."""


@contextmanager
def tiff_errors(path: Path, part: str = "") -> Iterator[None]:
    """Turn all that is raised or logged about a broken file into one typed error, and silence warnings.

    Args:
        path: the file.
        part: what of it is being read, such as `page 3`.

    Raises:
        SourceError: something was raised, or logged as an error.
    """
    where = f"{path}, {part}" if part else str(path)
    with _lock, _logged_errors() as logged, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except AugpipeError:
            raise
        except PixelError as error:
            raise SourceError(f"{where}: {error}") from error
        except MemoryError as error:
            raise SourceError(f"{where}: needs more memory than there is ({_one_line(error)}); use a part") from error
        except PermissionError as error:
            raise SourceError(f"{path}: may not be read ({error.strerror}); change its permissions") from error
        except Exception as error:  # tifffile raises half a dozen unrelated types on broken files
            raise SourceError(f"{where}: not a readable TIFF stack ({_one_line(error)}); export it again") from error
    if logged:
        raise SourceError(f"{where}: damaged TIFF ({logged[0]}); export it again")


def brief(value: object) -> str:
    """Return what to call a tag's value: its name, if it has one; a damaged tag may be thousands of numbers."""
    return _one_line(getattr(value, "name", value))[:40]


@contextmanager
def _logged_errors() -> Iterator[list[str]]:
    """Collect what tifffile logs as errors in this thread; what it logs in other threads goes where it always goes.

    No handler and no filter sees a record that the process has turned off, by the logger's level, by `disabled` or by
    `logging.disable`. Instead of changing any of these, the logger's own two decisions are made here: whether a record
    is wanted, and where it goes.
    """
    errors: list[str] = []
    reader, is_enabled, handle = threading.get_ident(), _LOGGER.isEnabledFor, _LOGGER.handle

    def is_enabled_here(level: int) -> bool:
        return level >= logging.ERROR if threading.get_ident() == reader else is_enabled(level)

    def handle_here(record: logging.LogRecord) -> None:
        if threading.get_ident() == reader:
            errors.append(_one_line(record.getMessage()))
        else:
            handle(record)

    here = {"isEnabledFor": is_enabled_here, "handle": handle_here}
    attributes = vars(_LOGGER)
    before = {name: attributes[name] for name in here if name in attributes}  # of a wider block, where blocks nest
    attributes.update(here)
    try:
        yield errors
    finally:
        for name in here:
            del attributes[name]
        attributes.update(before)


def _one_line(problem: object) -> str:
    return " ".join(str(problem).split())[:200] or type(problem).__name__
