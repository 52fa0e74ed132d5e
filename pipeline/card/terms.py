"""Under which terms a dataset may be used, and what is to be cited: its source's, and the licence chosen for it."""

from collections.abc import Mapping

from pipeline.card.kaggle_terms import LICENCES, OTHER_LICENCE, UNKNOWN_LICENCE, find_licence
from pipeline.card.record import CardRecord
from pipeline.source.known_stacks import NOTHING_TO_CITE

_OTHER_PAGES: Mapping[str, str] = {"MIT": "https://spdx.org/licenses/MIT.html"}
NO_LICENCE = "not recorded; ask those who made the stack before sharing anything made from it"
NO_CITATION = "not recorded"


def licence_text(card: CardRecord) -> str:
    """Return the licence of a dataset; where its publisher chose another one than the source's, both."""
    source = _named(*_source_licence(card))
    if card.licence == OTHER_LICENCE:
        return f"the source's terms: {source}"
    if card.licence is None or card.licence == kaggle_licence(card):
        return source
    chosen = _named(card.licence, LICENCES.get(card.licence, ""))
    return f"{chosen}, as its publisher chose; the source's: {source}"


def licence_values(card: CardRecord) -> str | list[str]:
    """Return the same for programs: the page of the licence, or its name; where there are two, what to make of it."""
    name, page = _source_licence(card)
    if card.licence in (None, OTHER_LICENCE, kaggle_licence(card)):
        return page or name
    return [LICENCES.get(str(card.licence)) or str(card.licence), licence_text(card)]


def kaggle_licence(card: CardRecord) -> str:
    """Return Kaggle's name for the source's licence: `other` where it has none, `unknown` where none is recorded."""
    if "licence" not in card.source:
        return UNKNOWN_LICENCE
    return find_licence(card.source["licence"]) or OTHER_LICENCE


def citation(card: CardRecord) -> str:
    """Return what those who made the source want to have cited."""
    told = card.source.get("citation") or _of_parts(card, "citation") or NO_CITATION
    return str(told).replace(NOTHING_TO_CITE, "nothing (synthetic)")


def _source_licence(card: CardRecord) -> tuple[str, str]:
    """Return the name of the source's licence, and its page where it is known."""
    if "licence" not in card.source:
        return _of_parts(card, "licence") or NO_LICENCE, ""
    name = str(card.source["licence"])
    return name, LICENCES.get(find_licence(name) or "") or _OTHER_PAGES.get(name.upper(), "")


def _of_parts(card: CardRecord, fact: str) -> str:
    """Return a fact of each stack of which it is known, and of how many it is not; empty where it is known of none."""
    known = [f"stack {part['stack']}: {part[fact]}" for part in card.source.get("parts", []) if fact in part]
    n_others = len(card.facts["inputs"]) - len(known)
    return "; ".join([*known, *["all others: not recorded"] * bool(n_others)]) if known else ""


def _named(name: str, page: str) -> str:
    return f"{name} ({page})" if page else name
