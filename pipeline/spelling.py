"""The spelling of a name: which one of those that exist was probably meant."""

from collections.abc import Iterable

_MOST_NAMES = 40


def advise(name: str, known: Iterable[str]) -> str:
    """Return what to write instead of a name that does not exist: the nearest of the known ones, or one of them all.

    >>> advise("license", ["title", "licence"])
    'did you mean licence?'
    >>> advise("shard_size", ["size", "shard-size"])
    'did you mean shard-size?'
    >>> advise("colour", ["title", "licence"])
    'expected one of title, licence'
    """
    from difflib import get_close_matches

    by_form = {_form(other): other for other in known}
    meant = get_close_matches(_form(name), by_form, n=1)
    if meant:
        return f"did you mean {by_form[meant[0]]}?"
    names = list(by_form.values())
    return f"expected one of {', '.join(names[:_MOST_NAMES])}{', ...' * (len(names) > _MOST_NAMES)}"


def _form(name: str) -> str:
    return name.lower().replace("_", "-").replace(" ", "-").strip("-")
