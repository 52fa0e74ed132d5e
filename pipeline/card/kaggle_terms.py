"""What Kaggle accepts: names of licences, lengths of slugs, titles and subtitles; and the mark of a dataset there.

From docs/datasets_metadata.md of github.com/Kaggle/kaggle-cli; the minimum length of a slug is the one that its code
requires, which is more than the document says.
"""

from collections.abc import Mapping

SLUG_LENGTHS, TITLE_LENGTHS, SUBTITLE_LENGTHS = (6, 50), (6, 50), (20, 80)
COVER_SIZE_PX = (560, 280)  # (width, height): its client shows this much of a cover, from the top left corner

# Each with its page, where it has one. Kaggle accepts `unknown`, which permits nothing: it is not published under.
UNKNOWN_LICENCE, OTHER_LICENCE = "unknown", "other"
LICENCES: Mapping[str, str] = {
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "CC-BY-3.0": "https://creativecommons.org/licenses/by/3.0/",
    "CC-BY-3.0-IGO": "https://creativecommons.org/licenses/by/3.0/igo/",
    "CC-BY-SA-4.0": "https://creativecommons.org/licenses/by-sa/4.0/",
    "CC-BY-SA-3.0": "https://creativecommons.org/licenses/by-sa/3.0/",
    "CC-BY-ND-4.0": "https://creativecommons.org/licenses/by-nd/4.0/",
    "CC-BY-NC-4.0": "https://creativecommons.org/licenses/by-nc/4.0/",
    "CC-BY-NC-SA-4.0": "https://creativecommons.org/licenses/by-nc-sa/4.0/",
    "CC-BY-NC-SA-3.0-IGO": "https://creativecommons.org/licenses/by-nc-sa/3.0/igo/",
    "CC-BY-NC-ND-4.0": "https://creativecommons.org/licenses/by-nc-nd/4.0/",
    "ODC-BY-1.0": "https://opendatacommons.org/licenses/by/1-0/",
    "ODbL-1.0": "https://opendatacommons.org/licenses/odbl/1.0/",
    "DbCL-1.0": "https://opendatacommons.org/licenses/dbcl/1.0/",
    "PDDL": "https://opendatacommons.org/licenses/pddl/1.0/",
    "CDLA-Permissive-1.0": "https://cdla.dev/permissive-1-0/",
    "CDLA-Sharing-1.0": "https://cdla.dev/sharing-1-0/",
    "apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
    "GPL-2.0": "https://www.gnu.org/licenses/old-licenses/gpl-2.0.en.html",
    "GPL-3.0": "https://www.gnu.org/licenses/gpl-3.0.html",
    "LGPL-3.0": "https://www.gnu.org/licenses/lgpl-3.0.html",
    "AGPL-3.0": "https://www.gnu.org/licenses/agpl-3.0.html",
    "FDL-1.3": "https://www.gnu.org/licenses/fdl-1.3.html",
    "US-Government-Works": "https://www.usa.gov/government-works/",
    "EU-ODP-Legal-Notice": "",
    "copyright-authors": "",
    OTHER_LICENCE: "",
    UNKNOWN_LICENCE: "",
}


def find_licence(name: str) -> str | None:
    """Return how Kaggle spells the licence of this name in any case; None if there is none of that name."""
    return next((licence for licence in LICENCES if licence.lower() == name.lower()), None)


def mark(dataset_sha256: str) -> str:
    """Return the words in a description and in version notes by which a published dataset is recognised."""
    return f"dataset sha256 {dataset_sha256}"
