"""A command as a process: its streams, and one line and an exit status for every way in which it may end."""

import io
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn, TextIO

from pipeline.errors import INTERRUPTED

_MAX_CHARACTERS = 800  # of an error; a path alone may have 4096
_NOT_COMPLETED = 3


def run_process(name: str, main: Callable[[], int]) -> NoReturn:
    """Run a command, and end the process with its exit status; what fails around it is told as one line, too.

    Args:
        name: of the command, which begins every line about an error.
        main: imports what it needs, runs the command, and returns its exit status. A bug in it keeps its traceback.
    """
    try:
        code = main() if _open_streams(name) else _NOT_COMPLETED
        if (failure := _flush(sys.stdout)) and code in (0, 1):
            print_error(name, f"standard output: cannot be written ({failure.strerror})")
            code = _NOT_COMPLETED
    except KeyboardInterrupt:
        print_error(name, "interrupted")
        code = INTERRUPTED
    except Exception as error:  # noqa: BLE001  # of all that a command may raise, nothing may look like a finding
        code = _NOT_COMPLETED
        if message := explain(error):
            print_error(name, message)
        else:
            sys.excepthook(type(error), error, error.__traceback__)
    for stream in (sys.stdout, sys.stderr):
        _flush(stream)
    sys.exit(code)


def explain(error: BaseException) -> str:
    """Return what to say where the system refused something, by its error; nothing where it is another error."""
    match error:
        case OSError():
            reason = error.strerror or str(error) or type(error).__name__
            return f"{error.filename}: {reason}" if error.filename else reason
        case MemoryError():
            return "memory is full; close other programs, or do less at a time (--jobs 1, smaller samples)"
        case ImportError():
            return f"{error.name or 'a library'}: cannot be loaded ({error}); install augpipe again"
        case RuntimeError() if str(error).startswith("Symlink loop from"):  # pathlib, before Python 3.13
            return f"{error}: the link leads to itself; name another path"
        case RuntimeError() if "can't start new thread" in str(error):
            return "the system allows no more threads; try --jobs 1"
    return ""


def print_error(name: str, message: str) -> None:
    """Print on standard error what went wrong, as one line of a sane length: its beginning, and its end, the advice."""
    line = " ".join(message.split())
    if len(line) > _MAX_CHARACTERS:
        line = f"{line[: _MAX_CHARACTERS - 300]} [...] {line[-290:]}"
    try:
        sys.stderr.write(f"{name}: {line}\n".encode("utf-8", "replace").decode("utf-8"))
    except OSError:
        pass  # the exit status tells it, too
    finally:
        _flush(sys.stderr)


def _open_streams(name: str) -> bool:
    """Put something in the place of closed streams, or a dataset's file would be opened there, and printed into.

    Returns:
        Whether what the command prints can arrive. Who closes standard error asks for no messages.
    """
    closed = [stream for stream in ("stdin", "stdout", "stderr") if getattr(sys, stream) is None]
    for stream in closed:
        wanted = ("stdin", "stdout", "stderr").index(stream)
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != wanted:
            os.dup2(opened, wanted)
            os.close(opened)
        mode = "r" if stream == "stdin" else "w"
        setattr(sys, stream, os.fdopen(wanted, mode, encoding="utf-8", errors="replace", closefd=False))
    for stream in ("stdout", "stderr"):
        setattr(sys, stream, _needing_no_reader(getattr(sys, stream)))
    if "stdout" in closed:
        print_error(name, "standard output is closed; send it to a file, or to /dev/null")
    return "stdout" not in closed


class _Output(io.FileIO):
    """A stream whose reader may leave, as `head` does: what comes then is dropped, and the command goes on."""

    def write(self, data: Any, /) -> int:
        """Write bytes, and return how many of them were taken."""
        try:
            return super().write(data)
        except BrokenPipeError:
            return memoryview(data).nbytes


def _needing_no_reader(stream: TextIO) -> TextIO:
    """Return the same stream, but one that needs no reader: a command's status tells what it found, read or not."""
    raw = _Output(stream.fileno(), "w", closefd=False)
    lines = raw.isatty() or stream is sys.stderr
    return io.TextIOWrapper(io.BufferedWriter(raw), stream.encoding, stream.errors, line_buffering=lines)


def _flush(stream: TextIO) -> OSError | None:
    """Write what a stream holds; where that cannot be, return why, and let Python not try again at its end."""
    try:
        stream.flush()
    except OSError as error:
        _silence(stream)
        return error
    return None


def _silence(stream: TextIO) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
