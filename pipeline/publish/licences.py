"""The licences that Kaggle knows by name."""

from typing import Any

from augment.errors import RefusedError
from pipeline.spelling import advise

# github.com/Kaggle/kaggle-cli, docs/datasets_metadata.md; without `unknown`, which is no licence.
KAGGLE_LICENCES = (
    *("CC0-1.0", "CC-BY-3.0", "CC-BY-3.0-IGO", "CC-BY-4.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0", "CC-BY-ND-4.0"),
    *("CC-BY-NC-4.0", "CC-BY-NC-ND-4.0", "CC-BY-NC-SA-3.0-IGO", "CC-BY-NC-SA-4.0"),
    *("ODC-BY-1.0", "ODbL-1.0", "DbCL-1.0", "PDDL", "CDLA-Permissive-1.0", "CDLA-Sharing-1.0"),
    *("apache-2.0", "GPL-2.0", "GPL-3.0", "LGPL-3.0", "AGPL-3.0", "FDL-1.3"),
    *("US-Government-Works", "EU-ODP-Legal-Notice", "world-bank", "reddit-api", "copyright-authors", "other"),
)


def choose_licence(asked: str | None, source_facts: Any) -> str:
    """Return the licence to publish under, as Kaggle spells it: the one asked for, else the source's own.

    Args:
        asked: a name, in any case.
        source_facts: what dataset.json says about the source.

    Raises:
        RefusedError: Kaggle knows no licence of that name.
    """
    own = source_facts.get("licence") if isinstance(source_facts, dict) else None
    name = asked if asked is not None else own
    known = {licence.lower(): licence for licence in KAGGLE_LICENCES}
    if isinstance(name, str) and name.lower() in known:
        return known[name.lower()]
    if asked is not None:
        raise RefusedError(
            f"--license {asked!r:.80}: not a licence that Kaggle knows; {advise(asked, KAGGLE_LICENCES)}"
        )
    said = f"its source's licence is {own!r:.200}" if own else "nothing says what the licence of its source is"
    raise RefusedError(
        f"licence: {said}, which is no name that Kaggle knows; choose one with --license, such as CC-BY-4.0, or "
        "'other' where the card tells the terms"
    )
