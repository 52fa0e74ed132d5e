"""Text of others in a card: nothing in it is rendered as markup but addresses, which stay links."""

import re
from urllib.parse import quote

_MARKUP = re.compile(r"([\\`*_\[\]<>|#~])")
_ADDRESS = re.compile(r"https?://[^\s<>\"]+")
_OUTBREAK = re.compile(r"[\\`|<>\"\s]")


def escape(text: str) -> str:
    """Return text as one line in which Markdown and HTML find nothing to render but links."""
    line = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    parts, end = [], 0
    for found in _ADDRESS.finditer(line):
        address = _without_punctuation(found[0])
        parts += [_plain(line[end : found.start()]), link(address)]
        end = found.start() + len(address)
    return "".join([*parts, _plain(line[end:])])


def link(address: str) -> str:
    """Return an address as a link that nothing in it can end."""
    return f"<{_OUTBREAK.sub(lambda found: quote(found[0], safe=''), address)}>"


def _plain(text: str) -> str:
    return _MARKUP.sub(r"\\\1", text.replace("&", "&amp;"))


def _without_punctuation(address: str) -> str:
    """Return an address without what belongs to the sentence around it: a stop, a bracket that it does not open."""
    while address[-1] in ".,;:!?'" or (address[-1] == ")" and address.count(")") > address.count("(")):
        address = address[:-1]
    return address
