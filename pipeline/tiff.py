"""Reading TIFF stacks without being fooled by broken ones, and writing plain ones."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from augment.errors import ConfigError, SourceError
from pipeline.files import write_atomically

# none, LZW, deflate (two codes), PackBits, LZMA, ZSTD (two codes)
_LOSSLESS = {1, 5, 8, 32946, 32773, 34925, 50000, 34926}
LARGEST_STACK_BYTES = 1 << 36  # 64 GiB: a header that asks for more is a lie or a mistake


def read_stack(path: Path, *, labels: bool = False) -> NDArray[Any]:
    """Return the stack in a TIFF file as (Z, Y, X), native byte order, C order.

    Images that are stored as white is zero are inverted. Labels are taken as they are, and must be losslessly stored.

    Raises:
        ConfigError: there is no such file.
        SourceError: the file is damaged, or not one stack of gray slices.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: expected a TIFF file, found {'a folder' if path.is_dir() else 'nothing'}")
    with _complaints() as complaints:
        try:
            with tifffile.TiffFile(path, _multifile=False) as tiff:
                shape, dtype = _declared_stack(path, tiff)
                inverted = tiff.pages.first.photometric == tifffile.PHOTOMETRIC.MINISWHITE and not labels
                if labels:
                    _require_lossless(path, tiff)
                _require_reasonable_size(path, shape, dtype)
                stack = np.asarray(tiff.series[0].asarray(maxworkers=1)).reshape(shape)
        except SourceError:
            raise
        except Exception as error:  # tifffile raises half a dozen unrelated types on broken files
            raise SourceError(f"{path}: not a readable TIFF stack ({_one_line(error)}); export it again") from error
    if complaints:
        raise SourceError(f"{path}: damaged TIFF ({complaints[0]}); export it again")
    stack = np.ascontiguousarray(stack, dtype=stack.dtype.newbyteorder("="))
    if inverted and stack.dtype.kind != "u":
        raise SourceError(f"{path}: {stack.dtype.name} pixels where white is zero; save them with black as zero")
    return np.iinfo(stack.dtype).max - stack if inverted else stack


def write_stack(path: Path, stack: NDArray[Any]) -> None:
    """Write a (Z, Y, X) stack as an uncompressed multi-page TIFF, the same bytes every time.

    Raises:
        StorageError: the file cannot be written.
    """
    memory = io.BytesIO()
    tifffile.imwrite(memory, stack, photometric="minisblack", metadata=None, software="", byteorder="<")
    write_atomically(path, [memory.getbuffer()], n_bytes=len(memory.getbuffer()))


def _declared_stack(path: Path, tiff: tifffile.TiffFile) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return the (Z, Y, X) shape and dtype that the file promises, where its pages keep that promise."""
    if len(tiff.series) != 1:
        raise SourceError(f"{path}: expected one image series, found {len(tiff.series)}; export the stack alone")
    page = tiff.pages.first
    if page.photometric not in (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.MINISWHITE):
        kind = tifffile.PHOTOMETRIC(page.photometric).name
        raise SourceError(f"{path}: expected gray pixels, found {kind}; convert the stack to gray, one channel")
    series = tiff.series[0]
    n_slices = int(np.prod(series.shape[:-2]))
    promised = (tiff.imagej_metadata or {}).get("images", n_slices)
    if series.ndim < 2 or series.shape[-2:] != page.shape or promised != n_slices:
        raise SourceError(
            f"{path}: expected {promised} slices of {page.shape} px, found {tuple(series.shape)}; "
            "the file is cut short or is not a stack of gray slices"
        )
    return (n_slices, *page.shape), np.dtype(series.dtype)


def _require_lossless(path: Path, tiff: tifffile.TiffFile) -> None:
    lossy = {int(page.compression) for page in tiff.series[0].pages if page is not None} - _LOSSLESS
    if lossy:
        kind = tifffile.COMPRESSION(lossy.pop()).name
        raise SourceError(f"{path}: labels stored with {kind} are not the ones that were drawn; save them losslessly")


def _require_reasonable_size(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    needed = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if not 0 < needed <= LARGEST_STACK_BYTES:
        raise SourceError(f"{path}: its header asks for {needed:,} bytes {shape}; at most {LARGEST_STACK_BYTES:,}")


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """Collect what tifffile logs as errors, where it should have raised them."""
    found: list[str] = []

    class _Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(_one_line(record.getMessage()))

    logger, collector = logging.getLogger("tifffile"), _Collector(level=logging.ERROR)
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(collector)
    try:
        yield found
    finally:
        logger.removeHandler(collector)
        logger.propagate = propagate


def _one_line(problem: object) -> str:
    return " ".join(str(problem).split())[:200] or type(problem).__name__
