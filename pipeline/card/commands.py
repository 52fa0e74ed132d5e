"""The commands that a card tells its readers to run; run by the tests as they stand there."""

from collections.abc import Iterator

from pipeline.card.record import CardRecord
from pipeline.source.known_stacks import PHANTOM, known_name
from pipeline.source.readers import IMAGES_FILE, LABELS_FILE

_MOST_PAIRS = 12  # of more stacks the first and the last are told


def rebuild_command(card: CardRecord) -> str:
    """Return what makes the dataset again, for the folder that holds dataset.json."""
    pairs = list(_pairs(card))
    return (" " if len(pairs) < 2 else " \\\n    ").join(["augpipe rebuild .", *pairs, "--out ../REBUILT"])


def verify_command() -> str:
    """Return what checks a download, for the folder that holds dataset.json."""
    return "augpipe verify ."


def pairs_text(card: CardRecord) -> str:
    """Return what the names stand for that are to be filled in, if any are."""
    n, known = len(card.facts["inputs"]), known_name(card.record.inputs)
    if known == PHANTOM:
        return "The stack is built into augpipe."
    if known:
        return f"`IMAGES` and `LABELS` are the source's `{IMAGES_FILE}` and `{LABELS_FILE}`."
    if n == 1:
        return "`IMAGES` and `LABELS` are the TIFF files, or folders of pages, that the dataset was made from."
    return (
        f"`IMAGES_0`, `LABELS_0` and so on are the TIFF files, or folders of pages, of the {n} stacks that the dataset "
        "was made from, in their order."
    )


def _pairs(card: CardRecord) -> Iterator[str]:
    """Yield the options that name each stack; the phantom is built in."""
    n = len(card.facts["inputs"])
    if known_name(card.record.inputs) == PHANTOM:
        return
    if n == 1:
        yield "--images IMAGES --labels LABELS"
        return
    for stack in range(n):
        if n <= _MOST_PAIRS or stack in (0, n - 1):
            yield f"--images IMAGES_{stack} --labels LABELS_{stack}"
        elif stack == 1:
            yield "..."
