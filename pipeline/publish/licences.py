"""The licence that a dataset is published under."""

from typing import Any

from pipeline.card.kaggle_terms import LICENCES, UNKNOWN_LICENCE, find_licence
from pipeline.errors import RefusedError, advise


def choose_licence(asked: str | None, source_facts: Any) -> str:
    """Return the licence to publish under, as Kaggle spells it: the one asked for, else the source's own.

    Args:
        asked: a name, in any case.
        source_facts: what dataset.json says about the source.

    Raises:
        RefusedError: Kaggle knows no licence of that name, or it is `unknown`, which is none.
    """
    own = source_facts.get("licence") if isinstance(source_facts, dict) else None
    name = asked if asked is not None else own
    found = find_licence(name) if isinstance(name, str) else None
    if found and found != UNKNOWN_LICENCE:
        return found
    if asked is not None:
        names = [licence for licence in LICENCES if licence != UNKNOWN_LICENCE]
        raise RefusedError(f"--license {asked!r:.80}: not a licence that Kaggle knows; {advise(asked, names)}")
    said = f"its source's licence is {own!r:.200}" if own else "nothing says what the licence of its source is"
    raise RefusedError(
        f"licence: {said}, which is no name that Kaggle knows; choose one with --license that its terms allow, "
        "or 'other': the card tells the source's"
    )
