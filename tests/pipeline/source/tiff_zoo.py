"""TIFF files of every kind: whole ones, lying ones, and damaged ones, written byte by byte where no library would."""

import io
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

BYTE, SHORT, LONG, RATIONAL, LONG8 = 1, 3, 4, 5, 16
HERE = -1  # in tag 273 or 324: where the data really are
STACK = np.random.default_rng(0).integers(0, 256, (3, 20, 24), np.uint8)
_LETTERS = {1: "B", 2: "B", SHORT: "H", LONG: "I", 7: "B", 13: "I", LONG8: "Q"}

Tag = tuple[int, Any] | tuple[int, int, bytes]  # (type, value or values), or (type, count, data) for a tag that lies
Page = tuple[list[bytes], dict[int, Tag]]  # strips or tiles, and tags


def gray(
    image: NDArray[Any], *, rows: int = 0, pack: Callable[[bytes], bytes] = bytes, tags: Mapping[int, Tag | None] = {}
) -> Page:
    """Return a page with the tags of a plain gray picture, some of them replaced, added, or (None) left out.

    Args:
        image: (Y, X).
        rows: of a strip; all of them unless given.
        pack: what compresses a strip.
        tags: what is different.
    """
    height, width = image.shape
    rows = rows or height
    strips = [pack(image[top : top + rows].tobytes()) for top in range(0, height, rows)]
    usual: dict[int, Tag | None] = {
        256: (LONG, width),
        257: (LONG, height),
        258: (SHORT, 8 * image.dtype.itemsize),
        259: (SHORT, 1),
        262: (SHORT, 1),
        273: (LONG, [HERE] * len(strips)),
        277: (SHORT, 1),
        278: (LONG, rows),
        279: (LONG, [len(strip) for strip in strips]),
        339: (SHORT, {"b": 1, "u": 1, "i": 2, "f": 3, "c": 6}[image.dtype.kind]),
    }
    return strips, {code: tag for code, tag in (usual | dict(tags)).items() if tag}


def text(words: str) -> Tag:
    """Return a tag of text."""
    return 2, [*words.encode(), 0]


def hand_made(pages: Sequence[Page], *, order: str = "<", big: bool = False, back_to: int | None = None) -> bytes:
    """Return a TIFF file in which every page's data come before its directory.

    Args:
        pages: at least one.
        order: `<` or `>`.
        big: whether it is a BigTIFF.
        back_to: the page that the last one says comes next.
    """
    offset, count, room = (f"{order}Q", f"{order}Q", 8) if big else (f"{order}I", f"{order}H", 4)
    file = bytearray(b"II" if order == "<" else b"MM")
    file += struct.pack(f"{order}HHHQ", 43, 8, 0, 0) if big else struct.pack(f"{order}HI", 42, 0)
    pointer, directories = len(file) - room, []
    for segments, tags in pages:
        places = []
        for segment in segments:
            places.append(len(file))
            file += segment + bytes(len(segment) % 2)
        struct.pack_into(offset, file, pointer, len(file))
        directories.append(len(file))
        pointer = len(file) + struct.calcsize(count) + len(tags) * (4 + 2 * room)
        entries, values = b"", b""
        for code, tag in sorted(tags.items()):
            kind, n, data = tag if len(tag) == 3 else (tag[0], *_packed(order, tag[0], tag[1], places))
            entries += struct.pack(f"{order}HH{offset[1]}", code, kind, n)
            if len(data) > room:
                entries += struct.pack(offset, pointer + room + len(values))
                values += data
            else:
                entries += data.ljust(room, b"\0")
        file += struct.pack(count, len(tags)) + entries + bytes(room) + values
    if back_to is not None:
        struct.pack_into(offset, file, pointer, directories[back_to])
    return bytes(file)


def _packed(order: str, kind: int, value: Any, places: Sequence[int]) -> tuple[int, bytes]:
    numbers = list(value) if isinstance(value, (list, tuple)) else [value]
    numbers = [places[k] if number == HERE else number for k, number in enumerate(numbers)]
    return len(numbers), struct.pack(f"{order}{len(numbers)}{_LETTERS[kind]}", *numbers)


def written(stack: NDArray[Any], **keywords: Any) -> bytes:
    """Return the file that tifffile writes."""
    file = io.BytesIO()
    tifffile.imwrite(file, stack, **({"photometric": "minisblack"} | keywords))
    return file.getvalue()


def planes_behind_one_page(stack: NDArray[Any], tags: Mapping[int, Tag], *, rows: int = 0, order: str = "<") -> bytes:
    """Return a file whose only page is the first slice; the others follow its strips, as ImageJ and MetaMorph write."""
    strips, usual = gray(stack[0].astype(stack.dtype.newbyteorder(order)), rows=rows, tags=tags)
    rest = stack[1:].astype(stack.dtype.newbyteorder(order)).tobytes()
    return hand_made([([*strips, rest], usual)], order=order)


def imagej(n_images: int, axis: str = "slices") -> Tag:
    """Return ImageJ's description of a stack."""
    return text(f"ImageJ=1.54f\nimages={n_images}\n{axis}={n_images}\nloop=false\n")


def metamorph(n_planes: int) -> dict[int, Tag]:
    """Return MetaMorph's tags UIC1 and UIC2; the latter is six numbers a plane, declared as one fraction each."""
    return {33628: (LONG, 1, struct.pack("<2I", 0, 1)), 33629: (RATIONAL, n_planes, bytes(24 * n_planes))}


def ome(size_z: int, *, size_c: int = 1, size_t: int = 1, root: str = "", data: str = "<TiffData/>") -> Tag:
    """Return an OME-XML description of pages of 20 x 24 px."""
    return text(
        f'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" {root}>'
        f'<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZTC" Type="uint8" SizeX="24" SizeY="20" '
        f'SizeZ="{size_z}" SizeC="{size_c}" SizeT="{size_t}">{data}</Pixels></Image></OME>'
    )


def whole_files() -> dict[str, tuple[bytes, NDArray[Any]]]:
    """Return a small file of every kind, and what is in it."""
    halves, fractions = (STACK.astype(dtype) / 7 for dtype in (np.float16, np.float32))
    bits = STACK > 99
    pages: dict[str, Any] = {"metadata": None}
    return {
        "plain": (written(STACK, rowsperstrip=6, **pages), STACK),
        "deflate": (written(STACK, compression="zlib", predictor=True, rowsperstrip=6, **pages), STACK),
        "lzw": (written(STACK, compression="lzw", predictor=True, **pages), STACK),
        "packbits": (written(STACK, compression="packbits", **pages), STACK),
        "zstd": (written(fractions, compression="zstd", predictor=3, **pages), fractions),
        "tiles": (written(STACK, tile=(16, 16), compression="zlib", **pages), STACK),
        "plain tiles": (written(STACK, tile=(16, 16), **pages), STACK),
        "imagej": (written(STACK, imagej=True), STACK),
        "imagej planes": (planes_behind_one_page(STACK, {270: imagej(3)}), STACK),
        "shaped": (written(STACK), STACK),
        "shaped planes": (written(STACK, truncate=True), STACK),
        "ome": (written(STACK, ome=True, metadata={"axes": "ZYX"}), STACK),
        "metamorph": (planes_behind_one_page(STACK, metamorph(3), rows=5), STACK),
        "big": (written(STACK, bigtiff=True), STACK),
        "big-endian": (written(STACK.astype(np.uint16) * 257, byteorder=">"), STACK.astype(np.uint16) * 257),
        "one bit": (written(bits, **pages), bits),
        "half floats": (written(halves, rowsperstrip=7, **pages), halves),
    }


def find_entries(data: bytes) -> list[int]:
    """Return where the tags of a whole file's directories are."""
    order, big = "<" if data[:2] == b"II" else ">", data[2:4] in (b"+\0", b"\0+")
    offset, count, size = (f"{order}Q", f"{order}Q", 20) if big else (f"{order}I", f"{order}H", 12)
    entries = []
    (place,) = struct.unpack_from(offset, data, 8 if big else 4)
    while place:
        (n_tags,) = struct.unpack_from(count, data, place)
        first = place + struct.calcsize(count)
        entries += [first + size * k for k in range(n_tags)]
        (place,) = struct.unpack_from(offset, data, first + size * n_tags)
    return entries


def mutate(rng: np.random.Generator, data: bytes, other: bytes) -> bytes:
    """Return a file with one to three kinds of damage, mostly where it hurts: in the header and the directories."""
    order, big = "<" if data[:2] == b"II" else ">", data[2:4] in (b"+\0", b"\0+")
    entries = find_entries(data)
    file = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        entry = int(rng.choice(entries))
        number = int(rng.choice([*_NUMBERS, len(data), len(data) - 1, entry, *rng.integers(0, 2**31, 3)]))
        match rng.integers(0, 9):
            case 0 | 1:  # a byte of the header, or of a directory
                file[int(rng.integers(0, 16)) if number % 8 == 0 else entry + number % (20 if big else 12)] = (
                    number % 251
                )
            case 2 | 3:  # a tag's value
                struct.pack_into(f"{order}I", file, entry + (12 if big else 8), number)
            case 4:  # a tag's type
                struct.pack_into(f"{order}H", file, entry + 2, int(rng.integers(0, 20)))
            case 5 | 6:  # a tag's count
                struct.pack_into(f"{order}I", file, entry + 4, number)
            case 7:  # a tag's meaning
                struct.pack_into(f"{order}H", file, entry, int(rng.choice(_CODES)))
            case _:  # a hole, or a burst
                start, n = int(rng.integers(0, len(file))), int(rng.integers(1, 64))
                burst = bytes(n) if rng.integers(0, 2) else rng.bytes(n)
                file[start : start + n] = burst[: len(file) - start]
    cut = int(rng.integers(4, len(file) + 1))
    return bytes([file[:cut], file[:cut] + other[cut:], *[file] * 6][rng.integers(0, 8)])


_NUMBERS = [0, 1, 2, 3, 4, 5, 7, 8, 16, 255, 256, 4096, 65535, 2**20, 2**28, 2**31 - 1, 2**31, 2**32 - 1]
_CODES = [
    *(254, 255, 256, 257, 258, 259, 262, 266, 270, 273, 277, 278, 279, 284, 317, 322, 323, 324, 325, 330, 338, 339),
    *(347, 513, 530, 32997, 32998, 33445, 33628, 33629, 33630, 33631, 34361, 34362, 34412, 34665, 37701, 42113, 43314),
    *(50288, 50838, 50839, 51123, 65000, 65426),
]
