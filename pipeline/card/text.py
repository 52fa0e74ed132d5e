"""README.md: the card as people read it, the most important first."""

from collections.abc import Iterator

from pipeline.card.commands import pairs_text, rebuild_command, verify_command
from pipeline.card.index import COLUMNS, index_columns
from pipeline.card.loading import loading
from pipeline.card.markup import escape, link
from pipeline.card.record import CardRecord
from pipeline.card.terms import citation, licence_text
from pipeline.card.words import counted, findings, guarantee, limits, makers, one_line, origin, rendering, strategy
from pipeline.look.fact_sheet import SPLIT_SIGNS
from pipeline.source.known_stacks import known_classes

_MOST_PICTURES = 12
_PICTURE = "![Samples beside the slices that they were made from](preview.png)"


def card_text(card: CardRecord, *, with_picture: bool = True) -> str:
    """Return the card in Markdown.

    Args:
        card: what is known.
        with_picture: show preview.png, which is to lie beside the text.
    """
    parts = [
        f"# {card.title}: {counted(card.record.n, 'sample')} of {counted(card.n_slices, 'annotated slice')}",
        escape(one_line(card)),
        "\n".join(_split_picture(card)),
        "\n".join(_claims(card)),
        "\n".join(_terms(card)),
        "\n".join(_rebuilding(card)),
        "\n".join(_loading(card)),
        *([_PICTURE] if with_picture else []),
        "\n".join(_contents(card)),
    ]
    return "\n\n".join(parts) + "\n"


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
    yield ""
    yield f"Split strategy {escape(strategy(card))}."


def _claims(card: CardRecord) -> Iterator[str]:
    report = card.report
    name = "Guarantee" if card.is_clean and card.held_out else "Splits"
    yield f"**{name}.** {guarantee(card)}"
    yield ""
    asked = f" (gap {report.gap})" if card.gap is not None else ""
    yield f"**Audit**{asked}: {escape(report.verdict)}. All checks: `audit.json`."
    yield from _listed(findings(card))
    yield ""
    yield "**Limits.**"
    yield from _listed(limits(card))


def _listed(lines: list[str]) -> Iterator[str]:
    yield from [""] * bool(lines)
    yield from (f"- {escape(line)}" for line in lines)


def _terms(card: CardRecord) -> Iterator[str]:
    source = card.source
    yield "**Source and licence.** The samples are derived from this source; the source's terms apply to them."
    yield ""
    yield f"- Made from: {escape(origin(card))}"
    yield from (f"- Stack {part['stack']}: {escape(part['title'])}" for part in source.get("parts", []))
    if "voxel_size_nm" in source:
        yield f"- Voxel size: {' x '.join(f'{side:g}' for side in source['voxel_size_nm'])} nm (z, y, x)"
    yield f"- Licence: {escape(licence_text(card))}"
    yield f"- To cite: {escape(citation(card))}"
    if "url" in source:
        yield f"- Found at: {link(source['url'])}"


def _rebuilding(card: CardRecord) -> Iterator[str]:
    yield (
        "**The same bytes again**, on x86-64 with the library versions in augpipe's `requirements.txt`, come from "
        "`dataset.json`, `manifest.jsonl` and the stack alone. augpipe is a program that makes training sets from "
        "annotated slices, and makes them again from their records. Run these in the folder that holds `dataset.json`:"
    )
    yield ""
    yield "```"
    yield rebuild_command(card)
    yield f"{verify_command()}    # or only check every byte of a download"
    yield "```"
    yield ""
    yield pairs_text(card)
    yield ""
    yield (
        f"The samples were made by {makers(card)}, renderer version {card.facts['renderer']}; this card by augpipe "
        f"{card.version}. To cite the dataset: SHA-256 of `dataset.json`, `{card.dataset.digest}`."
    )


def _loading(card: CardRecord) -> Iterator[str]:
    dtypes = card.record.image_dtype.name, card.record.label_dtype.name
    yield "## Loading it"
    yield ""
    yield "Run these in the folder that holds `dataset.json`."
    for name, lines in loading(card.record.window, *dtypes, instances=card.facts["label_kind"] == "instances"):
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
        yield from _classes(card)
    else:
        yield "Labels are the ids of single objects; 0 is background."
    yield ""
    yield "| file | |"
    yield "|---|---|"
    for split in card.facts["split"]["samples"]:
        shards = [shard.file for shard in card.record.shards if shard.split == split]
        names = f"`{shards[0]}`" if len(shards) == 1 else f"`{shards[0]}` to `{shards[-1]}`"
        weights = ", `/weights`" * card.record.has_weights
        yield f"| {names} | {split}: `/images`, `/labels`{weights} (N, height, width) and `/ids` |"
    yield "| `dataset.json`, `manifest.jsonl` | what the dataset is; every sample's slice, recipe and digests |"
    yield "| `index.csv` | the same as a table, below |"
    yield "| `croissant.json` | the same for programs, Croissant 1.1 |"
    yield "| `audit.json` | every check of the audit |"
    yield ""
    yield "| column of `index.csv` | |"
    yield "|---|---|"
    yield from (f"| `{name}` | {escape(COLUMNS[name][1])} |" for name in index_columns(card.rows))


def _classes(card: CardRecord) -> Iterator[str]:
    known = known_classes(card.record.inputs)
    yield f"| label | value in the source |{' what it is |' * bool(known)}"
    yield f"|---|---|{'---|' * bool(known)}"
    for each in card.facts["classes"]:
        name = f" {known.get(each['value'], '')} |" * bool(known)
        yield f"| {each['index']} | {each['value']} |{name}"
