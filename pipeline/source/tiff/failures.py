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

_one_at_a_time = threading.RLock()  # tifffile's log, which is listened to, belongs to the whole process


@contextmanager
def plain_errors(path: Path, part: str = "") -> Iterator[None]:
    """Turn whatever tifffile raises or logs about a broken file into one typed error, and silence its warnings.

    Args:
        path: the file.
        part: what of it is being read, such as `page 3`.

    Raises:
        SourceError: something was raised, or logged as an error.
    """
    where = f"{path}, {part}" if part else str(path)
    with _one_at_a_time, _complaints() as complaints:
        try:
            yield
        except AugpipeError:
            raise
        except MemoryError as error:
            raise SourceError(f"{where}: needs more memory than there is ({_one_line(error)}); use a part") from error
        except PermissionError as error:
            raise SourceError(f"{path}: may not be read ({error.strerror}); change its permissions") from error
        except Exception as error:  # tifffile raises half a dozen unrelated types on broken files
            raise SourceError(f"{where}: not a readable TIFF stack ({_one_line(error)}); export it again") from error
    if complaints:
        raise SourceError(f"{where}: damaged TIFF ({complaints[0]}); export it again")


def brief(value: object) -> str:
    """Return what to call a tag's value: its name, if it has one; a damaged tag may be thousands of numbers."""
    return _one_line(getattr(value, "name", value))[:40]


class _Listener(logging.Handler):
    """Keeps what this thread logs as errors."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.heard: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message."""
        if record.thread == self._thread:
            self.heard.append(_one_line(record.getMessage()))


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """Collect what tifffile logs as errors; it is heard even where somebody turned logging off."""
    logger, listener = logging.getLogger("tifffile"), _Listener()
    propagate, disabled = logger.propagate, logger.disabled
    level, threshold = logger.level, logging.root.manager.disable
    logging.disable(logging.NOTSET)
    logger.setLevel(logging.ERROR)
    logger.propagate = logger.disabled = False
    logger.addHandler(listener)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield listener.heard
    finally:
        logger.removeHandler(listener)
        logger.propagate, logger.disabled = propagate, disabled
        logger.setLevel(level)
        logging.disable(threshold)


def _one_line(problem: object) -> str:
    return " ".join(str(problem).split())[:200] or type(problem).__name__
