"""README.md: the card as people read it, the most important first."""

import re
from collections.abc import Iterator

from pipeline.card.index import COLUMNS, index_columns
from pipeline.card.loading import loading
from pipeline.card.record import CardRecord
from pipeline.card.words import counted, guarantee, licence, limits, one_line, origin, rendering
from pipeline.fact_sheet import SPLIT_SIGNS
from pipeline.known import PHANTOM

_MOST_PICTURES = 12
_MARKUP = re.compile(r"([\\`*_\[\]<>|#~])")


def card_text(card: CardRecord) -> str:
    """Return the card in Markdown."""
    parts = [
        f"# {card.record.name}: {counted(card.record.n, 'sample')} of {counted(card.n_slices, 'annotated slice')}",
        escape(one_line(card)),
        "\n".join(_split_picture(card)),
        "\n".join(_claims(card)),
        "\n".join(_terms(card)),
        "\n".join(_rebuilding(card)),
        "\n".join(_loading(card)),
        "![Samples beside the slices that they were made from](preview.png)",
        "\n".join(_contents(card)),
    ]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Return text in which Markdown and HTML find nothing to render."""
    return _MARKUP.sub(r"\\\1", text)


def _split_picture(card: CardRecord) -> Iterator[str]:
    """Yield one line a stack, one character a slice, and what the characters mean."""
    split = card.facts["split"]
    pictures = split["pictures"]
    if max(map(len, pictures)) == 1:  # single fields of view, which are easier to see side by side
        pictures = ["".join(pictures)]
    yield "```"
    yield from pictures[:_MOST_PICTURES]
    if len(pictures) > _MOST_PICTURES:
        yield f"... and {len(pictures) - _MOST_PICTURES} more stacks"
    yield "```"
    yield ""
    yield "One character a slice, in their order:"
    yield ""
    yield "| | split | slices | samples |"
    yield "|---|---|---|---|"
    for name, n in split["slices"].items():
        if n or name in split["samples"]:
            yield f"| `{SPLIT_SIGNS[name]}` | {name} | {n} | {split['samples'].get(name, '')} |"


def _claims(card: CardRecord) -> Iterator[str]:
    report = card.report
    yield f"**Guarantee.** {guarantee(card)}"
    yield ""
    yield f"**Audit** (augpipe {card.version}, gap {report.gap}): {escape(report.verdict)}. All checks: `audit.json`."
    yield ""
    yield "**Limits.**"
    yield ""
    yield from (f"- {line}" for line in limits(card))


def _terms(card: CardRecord) -> Iterator[str]:
    name, page = licence(card)
    source = card.source
    yield "**Source and licence.** The samples are derived from this source, and its terms are theirs:"
    yield ""
    yield f"- Made from: {escape(origin(card))}"
    if "voxel_size_nm" in source:
        yield f"- Voxel size: {' x '.join(f'{side:g}' for side in source['voxel_size_nm'])} nm (z, y, x)"
    yield f"- Licence: {escape(name)}{f' ({page})' * bool(page)}"
    yield f"- To cite: {escape(source.get('citation', 'not recorded'))}"
    if "url" in source:
        yield f"- Found at: {escape(source['url'])}"
    for part in source.get("parts", []):
        terms = "; ".join(str(part[key]) for key in ("title", "licence", "citation") if key in part)
        yield f"- Stack {part['stack']}: {escape(terms)}"


def _rebuilding(card: CardRecord) -> Iterator[str]:
    needed = "" if card.record.name == PHANTOM else " --source FOLDER_OF_THE_STACK"
    if len(card.facts["inputs"]) > 1:
        needed = " --images STACK --labels ITS_LABELS [--images ...]"
    yield "**The same bytes again**, from `dataset.json`, `manifest.jsonl` and the stack alone:"
    yield ""
    yield "```"
    yield f"augpipe rebuild FOLDER_OF_THIS_CARD{needed} --out REBUILT    # augpipe {card.version}"
    yield "augpipe verify FOLDER_OF_THIS_CARD                # or only check every byte of a download"
    yield "```"
    yield ""
    yield f"To cite the dataset: SHA-256 of `dataset.json`, `{card.record.sha256}`."


def _loading(card: CardRecord) -> Iterator[str]:
    height, width = card.record.window
    dtypes = {"image_dtype": card.record.image_dtype, "label_dtype": card.record.label_dtype}
    yield "## Loading it"
    for name, lines in loading({"height": height, "width": width, **dtypes}):
        yield ""
        yield f"{name}:"
        yield ""
        yield "```python"
        yield lines.rstrip()
        yield "```"


def _contents(card: CardRecord) -> Iterator[str]:
    yield "## What is in it"
    yield ""
    yield escape(rendering(card))
    yield ""
    if card.facts["classes"]:
        yield "| label | value in the source |"
        yield "|---|---|"
        yield from (f"| {each['index']} | {each['value']} |" for each in card.facts["classes"])
    else:
        yield "Labels are the ids of single objects; 0 is background."
    yield ""
    yield "| file | |"
    yield "|---|---|"
    for split in card.facts["split"]["samples"]:
        shards = [shard.file for shard in card.record.shards if shard.split == split]
        names = f"`{shards[0]}`" if len(shards) == 1 else f"`{shards[0]}` to `{shards[-1]}`"
        weights = ", `/weights`" * card.record.weights
        yield f"| {names} | {split}: `/images`, `/labels`{weights} (N, height, width) and `/ids` |"
    yield "| `dataset.json`, `manifest.jsonl` | what the dataset is; every sample's slice, recipe and digests |"
    yield "| `index.csv` | the same as a table, below |"
    yield "| `croissant.json` | the same for programs, Croissant 1.1 |"
    yield "| `audit.json` | every check of the audit |"
    yield ""
    yield "| column of `index.csv` | |"
    yield "|---|---|"
    yield from (f"| `{name}` | {escape(COLUMNS[name][1])} |" for name in index_columns(card.rows))
