"""JPEG images are what another decoder makes of them, or refused in one line: cut short, turned, CMYK, labels."""

import io
import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from small_worlds import small_config, small_stack, write_folder

from pipeline.build.builder import build_dataset
from pipeline.errors import DatasetError, SourceError
from pipeline.shards.digest import parse_json
from pipeline.source.origin import find_origin
from pipeline.source.pages import jpeg
from pipeline.source.pages.formats import open_file
from pipeline.source.readers import read_pairs

GRAY = small_stack()[0][0][:40, :51]
RGB = np.stack([GRAY, GRAY[::-1], 255 - GRAY], axis=-1)


def saved(pixels: NDArray[Any] | Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(file, "JPEG", **options)
    return file.getvalue()


def read(path: Path, data: bytes) -> NDArray[Any]:
    path.write_bytes(data)
    stack = open_file(path, labels=False)
    pixels = stack[0]
    assert (stack.shape, stack.dtype) == ((1, *pixels.shape), pixels.dtype)
    return pixels


def refusal(path: Path, data: bytes, *, labels: bool = False) -> str:
    path.write_bytes(data)
    with pytest.raises(SourceError) as refused:
        open_file(path, labels=labels)[0]
    line = str(refused.value)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    return line


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "page.JPEG"


@pytest.mark.parametrize(
    "options",
    [{}, {"progressive": True}, {"restart_marker_blocks": 1}, {"quality": 100, "subsampling": 0, "optimize": True}],
)
@pytest.mark.parametrize("pixels", [GRAY, RGB])
def test_pixels_are_those_of_another_program(path: Path, pixels: NDArray[Any], options: dict[str, Any]) -> None:
    data = saved(pixels, **options)
    assert np.array_equal(read(path, data + b"after the end"), np.array(Image.open(io.BytesIO(data))))
    channels = ("red", "green", "blue") if pixels is RGB else ()
    assert open_file(path, labels=False).channels == channels


def test_12_bits_are_16(path: Path) -> None:
    levels = GRAY.astype(np.uint16) * 16
    found = read(path, imagecodecs.jpeg8_encode(levels, level=100, bitspersample=12))
    assert found.dtype == np.uint16
    assert np.abs(found.astype(int) - levels).max() < 32


def exif(orientation: int, order: str = "<") -> bytes:
    start = b"II*\0" if order == "<" else b"MM\0*"
    return b"Exif\0\0" + start + struct.pack(f"{order}IHHHIHH", 8, 1, 0x0112, 3, 1, orientation, 0)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_picture_that_is_shown_turned_is_refused(path: Path, order: str) -> None:
    """Its labels were drawn on what was shown, or on what is stored: nobody knows."""
    assert "its Exif orientation is 6: programs show it turned" in refusal(path, saved(GRAY, exif=exif(6, order)))
    read(path, saved(GRAY, exif=exif(1, order)))
    for broken in (b"Exif\0\0", b"Exif\0\0II*\0", b"Exif\0\0II*\0\xff\xff\xff\xff", exif(6)[:-6], b"http://ns"):
        read(path, saved(GRAY, exif=broken))


PLAIN = saved(GRAY)
SCAN = PLAIN.index(b"\xff\xda")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a JPEG file"),
        (b"\x89PNG\r\n\x1a\n", "not a JPEG file"),
        (PLAIN[:-2], "the file is cut short; copy it again"),
        (PLAIN[: SCAN + 4], "is out of place or cut short"),
        (PLAIN[: SCAN + 200] + b"\xff\xd9", "some of its coded pixels are missing"),
        (PLAIN[:SCAN] + b"\xff\xd9", "has no pixels"),
        (PLAIN[:2] + PLAIN[SCAN:], "scans without a frame"),
        (PLAIN[:2] + b"\xff\xff" + b"\0" + PLAIN[2:], "is out of place or cut short|no segment begins"),
        (saved(Image.fromarray(RGB).convert("CMYK")), "found CMYK, colours for printing"),
        (imagecodecs.jpeg8_encode(GRAY, lossless=True), "lossless JPEG is not read"),
        (PLAIN.replace(b"\xff\xc0", b"\xff\xc9"), "JPEG with arithmetic codes is not read"),
    ],
)
def test_what_is_no_whole_picture_is_refused(path: Path, data: bytes, words: str) -> None:
    line = refusal(path, data)
    assert any(each in line for each in words.split("|")), line


def test_a_file_cut_short_anywhere_is_refused(path: Path) -> None:
    data = saved(RGB[:16, :16], progressive=True)
    for cut in range(len(data)):
        refusal(path, data[:cut])


def test_labels_are_refused_with_the_reason(path: Path) -> None:
    assert "expected labels stored without loss, found JPEG, which may change them" in refusal(path, PLAIN, labels=True)


def test_more_is_not_decoded_than_a_file_can_hold(path: Path) -> None:
    place = PLAIN.index(b"\xff\xc0") + 5
    huge = PLAIN[:place] + struct.pack(">HH", 65535, 65535) + PLAIN[place + 4 :]
    assert "bytes that would be" in refusal(path, huge)
    many = PLAIN[:-2] + PLAIN[SCAN:-2] * jpeg._MAX_SCANS + b"\xff\xd9"
    assert "more than 64" in refusal(path, many)


def test_another_decoder_is_named_where_its_pixels_are_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files are the same, so that "found others" would send people after files that nobody changed."""
    images, labels = small_stack()
    folder = write_folder(tmp_path / "tiff", images, labels)
    (tmp_path / "images").mkdir()
    for z, image in enumerate(images):
        (tmp_path / "images" / f"{z}.jpg").write_bytes(saved(image))
    source = read_pairs([(tmp_path / "images", folder / "train-labels.tif")], name="x")
    assert [file.decoder is None for file in source.files[0]] == [False, True]
    dataset = build_dataset(source, small_config(), out=tmp_path / "d", jobs=1).dataset
    assert dataset is not None
    (info,) = parse_json((tmp_path / "d" / "build-info.json").read_bytes())["inputs"]
    assert info["images"]["decoder"] == imagecodecs.jpeg8_version()
    assert find_origin(dataset).inputs == source.inputs

    decode = imagecodecs.jpeg8_decode
    monkeypatch.setattr(imagecodecs, "jpeg8_decode", lambda data: decode(data) ^ 1)
    monkeypatch.setattr(imagecodecs, "jpeg8_version", lambda: "libjpeg_turbo 9.9")
    with pytest.raises(DatasetError, match=r"the files are those that .* decoded them then, libjpeg_turbo 9\.9 does"):
        find_origin(dataset)
    (tmp_path / "images" / "0.jpg").write_bytes(saved(images[0], quality=50))
    with pytest.raises(DatasetError, match="found others"):
        find_origin(dataset)
