"""The settings of a dataset on Kaggle: what its versions share, its licence, sources and picture among it.

Kaggle takes them as a whole, so that what it has is read first and sent back with what is to change: collaborators,
texts that its owner has edited, and whether it is private stay as they are. The official client does the same in two
commands, `kaggle datasets metadata` and `kaggle datasets metadata --update`.
"""

from typing import Any

from pipeline.card.kaggle_terms import COVER_SIZE_PX
from pipeline.publish.remote import Listing

_UNSAID = ("", "not specified")


def new_settings(info: Any, listing: Listing) -> Any:
    """Return the settings that a dataset is to have.

    Args:
        info: those it has, as the SDK reads them.
        listing: what it is published as.
    """
    from kagglesdk.datasets.types.dataset_types import DatasetSettings, SettingsLicense

    known = info.to_dict()
    settings = DatasetSettings.from_dict(
        {name: known[name] for name in DatasetSettings().to_dict(False) if name in known}
    )
    if listing.retitle:
        settings.title = listing.title
    if listing.private:
        settings.is_private = True
    licence = SettingsLicense()
    licence.name = listing.licence
    settings.licenses = [licence]
    settings.user_specified_sources = listing.sources
    if (info.expected_update_frequency or "") in _UNSAID:
        settings.expected_update_frequency = listing.update_frequency
    return settings


def picture(token: str) -> Any:
    """Return the picture of a dataset, all of which is shown above its page, and the middle of it in lists.

    Args:
        token: of its upload.
    """
    from kagglesdk.common.types.cropped_image_upload import CroppedImageUpload

    width, height = COVER_SIZE_PX
    image = CroppedImageUpload()
    image.token = token
    image.crop_rectangles = [
        _rectangle("cover image", 0, width, height),
        _rectangle("thumbnail", (width - height) // 2, height, height),
    ]
    return image


def _rectangle(title: str, left: int, width: int, height: int) -> Any:
    from kagglesdk.common.types.cropped_image_upload import CroppedImageRectangle

    rectangle = CroppedImageRectangle()
    rectangle.title = title
    rectangle.left, rectangle.top = left, 0
    rectangle.width, rectangle.height = width, height
    return rectangle
