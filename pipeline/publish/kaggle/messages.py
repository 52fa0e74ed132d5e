"""What is sent to Kaggle and what its answers say, in the types of its SDK.

The SDK does not check the types of what an answer holds. What is missing or has another type raises here, within the
call that asked, which then says that the answer cannot be understood.
"""

import re
from collections.abc import Mapping
from typing import Any

from pipeline.card.kaggle_terms import COVER_SIZE_PX, mark
from pipeline.publish.remote import Metadata, RemoteState

_MARK = re.compile(mark("([0-9a-f]{64})"))
_NOT_SPECIFIED = ("", "not specified")
# As the official client translates the types of Data Package; it passes on what it does not know.
_TYPES = {
    **dict.fromkeys(("string", "date", "time", "yearmonth", "duration", "geopoint", "geojson"), "string"),
    **dict.fromkeys(("numeric", "number", "year"), "numeric"),
}


class DeclinedError(Exception):
    """An answer that says, with status 200, that nothing was done."""


def fill(message: Any, **values: Any) -> Any:
    """Return a message of the SDK with these values; it refuses unknown names and values of another type."""
    for name, value in values.items():
        setattr(message, name, value)
    return message


def new_file(token: str, resource: Mapping[str, Any]) -> Any:
    """Return the message that makes an uploaded file part of a version.

    Args:
        token: of its upload.
        resource: what dataset-metadata.json says of it: `description`, and of a table `schema` with its `fields`.
    """
    from kagglesdk.datasets.types.dataset_api_service import ApiDatasetColumn, ApiDatasetNewFile

    columns = []
    for order, field in enumerate((resource.get("schema") or {}).get("fields") or ()):
        column = fill(ApiDatasetColumn(), order=order, name=field["name"])
        column.description = field.get("description") or field.get("title") or ""
        if "type" in field:
            column.original_type = field["type"].lower()
            column.type = _TYPES.get(column.original_type, column.original_type)
        columns.append(column)
    return fill(ApiDatasetNewFile(), token=token, description=resource.get("description"), columns=columns)


def new_settings(before: Any, metadata: Metadata) -> Any:
    """Return the settings that a dataset is to have: what its versions share, such as its licence and sources.

    Kaggle takes them as a whole, so that those it has are sent back with what is to change: collaborators, texts that
    its owner has edited, and whether it is private stay as they are. The official client does the same in two commands,
    `kaggle datasets metadata` and `kaggle datasets metadata --update`.

    Args:
        before: the settings that it has, as the SDK reads them.
        metadata: what describes the dataset.
    """
    from kagglesdk.datasets.types.dataset_types import DatasetSettings, SettingsLicense

    values = before.to_dict()
    settings = DatasetSettings.from_dict(
        {name: values[name] for name in DatasetSettings().to_dict(False) if name in values}
    )
    if metadata.retitle:
        settings.title = metadata.title
    if metadata.private:
        settings.is_private = True
    settings.licenses = [fill(SettingsLicense(), name=metadata.licence)]
    settings.user_specified_sources = metadata.sources
    if (before.expected_update_frequency or "") in _NOT_SPECIFIED:
        settings.expected_update_frequency = metadata.update_frequency
    return settings


def new_cover(token: str) -> Any:
    """Return the cover of a dataset, all of which is shown above its page, and the middle of it in lists.

    Args:
        token: of its upload.
    """
    from kagglesdk.common.types.cropped_image_upload import CroppedImageRectangle, CroppedImageUpload

    width, height = COVER_SIZE_PX
    middle = (width - height) // 2
    crops = [
        fill(CroppedImageRectangle(), title="cover image", left=0, top=0, width=width, height=height),
        fill(CroppedImageRectangle(), title="thumbnail", left=middle, top=0, width=height, height=height),
    ]
    return fill(CroppedImageUpload(), token=token, crop_rectangles=crops)


def read_dataset(answer: Any) -> RemoteState:
    """Return what an answer says about a dataset."""
    version = answer.current_version_number
    if not (version is None or type(version) is int):
        raise TypeError(f"expected the number of a version, got {version!r}")
    return RemoteState(
        exists=True,
        version=version,
        dataset_sha256=_read_mark(answer, version),
        public=answer.is_private is False,
        url=str(answer.url or ""),
    )


def _read_mark(answer: Any, version: int | None) -> str | None:
    """Return the digest of the dataset in the current version: from its notes, of a first version the description.

    All versions share the description, which stays when somebody else makes a version.
    """
    texts = [each.version_notes for each in answer.versions or [] if each.version_number == version]
    if version == 1:
        texts.append(answer.description)
    return next((str(marks[-1]) for text in texts if (marks := _MARK.findall(text or ""))), None)


def read_created(answer: Any, slug: str) -> str:
    """Return the address of a dataset or version that was created.

    Raises:
        DeclinedError: it was not, or the answer is about another one.
    """
    status, error, url = str(answer.status or ""), str(answer.error or ""), str(answer.url or "")
    if error or status.lower() not in ("", "ok"):
        raise DeclinedError(error or f"its status is {status}")
    ref = str(answer.ref or url).rstrip("/").lower()
    if ref.rpartition("/")[2] != slug:
        raise DeclinedError(f"the answer names {ref or 'nothing'!r:.80}")
    return url


def read_settings(answer: Any, metadata: Metadata) -> tuple[Any, bool]:
    """Return the settings that a dataset is to have, and whether those that it has differ.

    Raises:
        DeclinedError: Kaggle does not tell what it has.
    """
    if answer.error_message:
        raise DeclinedError(str(answer.error_message))
    settings = new_settings(answer.info, metadata)
    return settings, not settings.to_dict().items() <= answer.info.to_dict().items()


def require_updated(answer: Any) -> None:
    """Refuse an answer that names what was wrong with new settings.

    Raises:
        DeclinedError: it does.
    """
    if errors := "; ".join(str(each) for each in answer.errors):
        raise DeclinedError(errors)


def read_address(answer: Any) -> tuple[str, str]:
    """Return the token of an upload, and the address to put its bytes to."""
    token, url = answer.token, answer.create_url
    if not (isinstance(token, str) and isinstance(url, str) and token and url.startswith(("https://", "http://"))):
        raise ValueError("no address to send it to")
    return token, url
