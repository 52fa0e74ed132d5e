"""The cover: a few samples, image above label, in the shape that Kaggle shows."""

import io

from PIL import Image

from pipeline.card.kaggle_terms import COVER_SIZE_PX
from pipeline.look.panels import display_range, image_panel, label_panel
from pipeline.shards.dataset import Dataset

_COLUMNS, _LINES = 4, 2
_SIDE_PX = COVER_SIZE_PX[1] // _LINES


def draw_cover(dataset: Dataset) -> bytes:
    """Return the cover of a dataset as the bytes of a PNG file: training samples, each over its outlined label.

    Raises:
        DatasetError: the dataset cannot be read.
    """
    split = dataset["train"]
    cover = Image.new("RGB", COVER_SIZE_PX, "#ffffff")
    for column in range(_COLUMNS):
        k = column * (len(split) - 1) // (_COLUMNS - 1)
        image, label = split.images[k], split.labels[k]
        limits = display_range(image)
        for line, panel in enumerate((image_panel(image, limits), label_panel(image, label, limits))):
            square = panel.convert("RGB").resize((_SIDE_PX, _SIDE_PX), Image.Resampling.LANCZOS, box=_middle(panel))
            cover.paste(square, (column * _SIDE_PX, line * _SIDE_PX))
    buffer = io.BytesIO()
    cover.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _middle(panel: Image.Image) -> tuple[float, float, float, float]:
    """Return a square in the middle of a picture, half as wide, so that details are seen: left, top, right, bottom."""
    whole = min(panel.size)
    side = max(whole / 2, min(whole, _SIDE_PX))
    left, top = (panel.width - side) / 2, (panel.height - side) / 2
    return left, top, left + side, top + side
