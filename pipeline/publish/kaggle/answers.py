"""What Kaggle's answers say, as plain values.

The SDK does not check what kinds of values an answer holds. What is missing or of another kind raises here, within the
call that asked, which says that the answer cannot be understood.
"""

import re
from dataclasses import dataclass
from typing import Any

from pipeline.card.kaggle_terms import mark
from pipeline.publish.kaggle.settings import new_settings
from pipeline.publish.remote import Listing

_MARK = re.compile(mark("([0-9a-f]{64})"))


@dataclass(frozen=True, slots=True)
class FoundDataset:
    """What Kaggle says about a dataset."""

    version: int | None
    dataset_sha256: str | None
    public: bool
    url: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """What Kaggle says about what it was asked to make."""

    status: str
    error: str
    ref: str
    url: str


def read_dataset(found: Any) -> FoundDataset:
    """Return what an answer says about a dataset."""
    version = found.current_version_number
    if not (version is None or type(version) is int):
        raise TypeError("the number of a version is none")
    return FoundDataset(version, _marked(found, version), found.is_private is False, str(found.url or ""))


def _marked(found: Any, version: int | None) -> str | None:
    """Return the digest of the dataset in the current version: its notes tell, of a first version the description.

    The description is the dataset's; a version that somebody else makes keeps it.
    """
    texts = [each.version_notes for each in found.versions or [] if each.version_number == version]
    for text in (*texts, *[found.description] * (version == 1)):
        if marks := _MARK.findall(text or ""):
            return str(marks[-1])
    return None


def read_accepted(answer: Any) -> Accepted:
    """Return what an answer says about a dataset or a version that was asked for."""
    return Accepted(
        status=str(answer.status or ""),
        error=str(answer.error or ""),
        ref=str(answer.ref or answer.url or ""),
        url=str(answer.url or ""),
    )


def read_settings(answer: Any, listing: Listing) -> tuple[str, dict[str, Any], Any]:
    """Return what went wrong, if anything did, the settings that a dataset has, and those that it is to have."""
    if answer.error_message:
        return str(answer.error_message), {}, None
    return "", answer.info.to_dict(), new_settings(answer.info, listing)
