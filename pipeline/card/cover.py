"""The cover: a few samples, image above label, in the shape that Kaggle shows."""

import io
from pathlib import Path

from PIL import Image

from pipeline.panel import display_range, image_panel, label_panel
from pipeline.shards.dataset import open_dataset

COLUMNS, SIDE_PX = 4, 280
SIZE_PX = COLUMNS * SIDE_PX, 2 * SIDE_PX  # (width, height); Kaggle wants 560 x 280 at least, twice as wide as high


def draw_cover(folder: Path) -> bytes:
    """Return the cover of a dataset as the bytes of a PNG file: training samples, each over its outlined label.

    Raises:
        DatasetError: the dataset cannot be read.
    """
    dataset = open_dataset(folder)
    split = dataset["train"]
    cover = Image.new("RGB", SIZE_PX, "#ffffff")
    for column in range(COLUMNS):
        k = column * (len(split) - 1) // (COLUMNS - 1)
        image, label = split.images[k], split.labels[k]
        limits = display_range(image)
        for line, panel in enumerate((image_panel(image, limits), label_panel(image, label, limits))):
            square = panel.convert("RGB").resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS, box=_middle(panel))
            cover.paste(square, (column * SIDE_PX, line * SIDE_PX))
    buffer = io.BytesIO()
    cover.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _middle(panel: Image.Image) -> tuple[float, float, float, float]:
    """Return the largest square in the middle of a picture: left, top, right, bottom."""
    side = min(panel.size)
    left, top = (panel.width - side) / 2, (panel.height - side) / 2
    return left, top, left + side, top + side
