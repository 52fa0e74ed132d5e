"""README.md: the card as people read it, the most important first. The tests run its commands and its code."""

import re
from collections.abc import Iterator, Sequence
from urllib.parse import quote

from pipeline.card import sentences
from pipeline.card.contents import Card
from pipeline.card.index import COLUMNS, index_columns
from pipeline.errors import counted
from pipeline.look.fact_sheet import SPLIT_SIGNS, letter_lines, sample_counts, slice_counts, voxel_size_text
from pipeline.shards.record import STORED_NAMES
from pipeline.source.known_stacks import PHANTOM, class_names, known_name
from pipeline.source.readers import IMAGES_FILE, LABELS_FILE

_MAX_PAIRS = 12  # of more stacks only the first and the last are in the command
_PREVIEW = "![Samples beside the slices that they were made from](preview.png)"

_H5PY = """\
import glob, h5py, numpy as np

shards = [h5py.File(path) for path in sorted(glob.glob("train-*.h5"))]
images = np.concatenate([shard["images"][:] for shard in shards])  # (N, {height}, {width}{channels}) {images}
labels = np.concatenate([shard["labels"][:] for shard in shards])  # (N, {height}, {width}) {labels}{ids}
"""
_TORCH = """\
import glob, h5py, torch, torch.utils.data as data

files = [h5py.File(path) for path in sorted(glob.glob("train-*.h5"))]
arrays = [(file["images"][:]{image_cast}{first}, file["labels"][:]{label_cast}) for file in files]{ids}
tensors = data.ConcatDataset([data.TensorDataset(*map(torch.from_numpy, pair)) for pair in arrays])
batches = data.DataLoader(tensors, batch_size=4, shuffle=True)
"""
_KERAS = """\
import glob, h5py, keras, numpy as np

shards = [h5py.File(path) for path in sorted(glob.glob("train-*.h5"))]
images = np.concatenate([shard["images"][:] for shard in shards]){last}{image_cast}
labels = np.concatenate([shard["labels"][:] for shard in shards])[..., None]{label_cast}{ids}
model.fit(images, labels, batch_size=4)  # any Keras model that takes ({height}, {width}, {n_channels})
"""
_FILES = """\
| `dataset.json`, `manifest.jsonl` | what the dataset is; the slice, recipe and digests of every sample |
| `index.csv` | the same as a table, below |
| `croissant.json` | the same for programs, Croissant 1.1 |
| `audit.json` | every check of the audit |"""

_MARKUP = re.compile(r"([\\`*_\[\]<>|#~])")
_ADDRESS = re.compile(r"https?://[^\s<>\"]+")
_OUTBREAK = re.compile(r"[\\`|<>\"\s]")


def make_readme(card: Card, *, with_preview: bool = True) -> str:
    """Return the card in Markdown.

    Args:
        card: its contents.
        with_preview: show preview.png, which is to lie beside the text.
    """
    parts = [
        f"# {card.title}: {counted(card.record.n, 'sample')} of {counted(card.n_slices, 'annotated slice')}",
        escape(sentences.summary(card)),
        *_splits(card),
        *_claims(card),
        *_terms(card),
        *_rebuilding(card),
        *_loading(card),
        *([_PREVIEW] if with_preview else []),
        *_contents(card),
    ]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Return the text of others as one line in which Markdown and HTML find nothing to render but links."""
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


def _splits(card: Card) -> Iterator[str]:
    """Yield one line a stack, one letter a slice, and what the letters mean."""
    samples = sample_counts(card.record)
    yield _block(letter_lines(card.dataset))
    yield "One letter for each slice, in their order:"
    yield _table(
        ["", "split", "slices", "samples"],
        [
            [f"`{SPLIT_SIGNS[name]}`", name, str(n), str(samples.get(name, ""))]
            for name, n in slice_counts(card.record).items()
            if n or name in samples
        ],
    )
    yield f"Split strategy {escape(sentences.strategy(card))}."


def _claims(card: Card) -> Iterator[str]:
    yield f"**{'Guarantee' if card.is_clean and card.held_out else 'Splits'}.** {sentences.guarantee(card)}"
    gap = "" if card.gap is None else f" (gap {card.report.gap})"
    report_only = "" if card.is_rechecked else " Report not re-checked: the source was not at hand here."
    yield f"**Audit**{gap}: {escape(card.report.verdict)}. All checks: `audit.json`.{report_only}"
    if found := sentences.findings(card):
        yield _listed(found)
    yield "**Limits.**"
    yield _listed(sentences.limits(card))


def _terms(card: Card) -> Iterator[str]:
    source = card.source
    yield "**Source and licence.** The samples are derived from this source; the source's terms apply to them."
    lines = [
        f"Made from: {sentences.origin(card)}",
        *(f"Stack {part.stack}: {part.title}" for part in source.parts or ()),
    ]
    if source.voxel_size_nm:
        lines.append(f"Voxel size: {voxel_size_text(source.voxel_size_nm)}")
    lines += [f"Licence: {sentences.licence_text(card)}", f"To cite: {sentences.citation(card)}"]
    yield _listed(lines) + (f"\n- Found at: {link(source.url)}" if source.url else "")


def _rebuilding(card: Card) -> Iterator[str]:
    yield (
        "**Rebuilding it.** `dataset.json`, `manifest.jsonl` and the stack alone give the same bytes again, on x86-64 "
        "with the library versions in augpipe's `requirements.txt`. augpipe is a program that makes training sets from "
        "annotated slices, and rebuilds them from their records. Run these in the folder that holds `dataset.json`:"
    )
    options, names = _stack_options(card)
    rebuild = (" " if len(options) < 2 else " \\\n    ").join(["augpipe rebuild .", *options, "--out ../REBUILT"])
    yield _block([rebuild, "augpipe verify .    # or only check every byte of a download"])
    yield names
    yield (
        f"The samples were made by {sentences.makers(card)}, renderer version {card.record.renderer}; this card by "
        f"augpipe {card.version}. To cite the dataset, give the SHA-256 of `dataset.json`: `{card.dataset.digest}`."
    )


def _stack_options(card: Card) -> tuple[list[str], str]:
    """Return the options that name each stack, and what the names in them stand for; the phantom is built in."""
    n, known, one = len(card.record.inputs), known_name(card.record.inputs), ["--images IMAGES --labels LABELS"]
    if known == PHANTOM:
        return [], "The stack is built into augpipe."
    if known:
        return one, f"`IMAGES` and `LABELS` are the source's `{IMAGES_FILE}` and `{LABELS_FILE}`."
    if n == 1:
        return one, "`IMAGES` and `LABELS` are the TIFF files, or folders of pages, that the dataset was made from."
    options = [f"--images IMAGES_{stack} --labels LABELS_{stack}" for stack in range(n)]
    if n > _MAX_PAIRS:
        options[1:-1] = ["..."]
    return options, (
        f"`IMAGES_0`, `LABELS_0` and so on are the TIFF files, or folders of pages, of the {n} stacks that the dataset "
        "was made from, in their order."
    )


def _loading(card: Card) -> Iterator[str]:
    """Yield how to load the training split with each library, in five lines."""
    height, width = card.record.window
    arrays, names = card.record.arrays, card.record.arrays.channels or ()
    ids = "  # ids of objects: for a network of two classes, labels > 0"
    values = {
        "height": height,
        "width": width,
        "images": arrays.images,
        "labels": arrays.labels,
        "channels": f", {len(names)}" if names else "",
        "n_channels": len(names) or 1,
        "first": ".transpose(0, 3, 1, 2)" if names else "",
        "last": "" if names else "[..., None]",
        "image_cast": _cast(arrays.images),
        "label_cast": _cast(arrays.labels),
        "ids": ids if card.record.label_kind == "instances" else "",
    }
    yield "## Loading it"
    yield "Run these in the folder that holds `dataset.json`."
    for library, code in {"h5py": _H5PY, "PyTorch": _TORCH, "Keras": _KERAS}.items():
        yield f"{library}:"
        yield _block([code.format_map(values).rstrip()], "python")


def _cast(dtype: str) -> str:
    """Return what makes an array one that can be computed with: PyTorch has next to no operation on uint16, uint32."""
    wider = {"uint16": "int32", "uint32": "int64"}.get(dtype)
    return f'.astype("{wider}")' if wider else ""


def _contents(card: Card) -> Iterator[str]:
    yield "## What is in it"
    yield escape(sentences.rendering(card))
    yield from _classes(card)
    rows = []
    for split in card.record.splits:
        shards = [f"`{shard.file}`" for shard in card.record.split_shards(split)]
        files = shards[0] if len(shards) == 1 else f"{shards[0]} to {shards[-1]}"
        arrays = ", ".join(f"`/{STORED_NAMES[name]}`" for name in card.record.array_names(split))
        rows.append([files, f"{split}: {arrays} (N, height, width) and `/ids`"])
    if channels := card.record.arrays.channels:
        listed = ", ".join(map(escape, channels))
        yield f"`/images` are (N, height, width, {len(channels)}): {listed}."
    yield f"{_table(['file', ''], rows)}\n{_FILES}"
    yield _table(
        ["column of `index.csv`", ""], [[f"`{name}`", escape(COLUMNS[name][1])] for name in index_columns(card.record)]
    )


def _classes(card: Card) -> Iterator[str]:
    """Yield what labels mean: a table of classes, and the value of pixels that mean nothing."""
    record, names = card.record, class_names(card.record.inputs)
    if record.label_kind == "instances":
        objects, background = (escape(names[1]), escape(names[0])) if names else ("objects", "background")
        yield f"Labels are the ids of {objects}; 0 is {background}."
    else:
        columns = {
            "label": [str(each.index) for each in record.classes],
            "value in the source": [str(each.value) for each in record.classes],
            "what it is": [escape(name) for name in names],
            "colour": [f"`{colour}`" for colour in record.inputs[0].labels.colors or ()],
        }
        known = {head: cells for head, cells in columns.items() if cells}
        yield _table(list(known), list(zip(*known.values(), strict=True)))
    if masks := record.arrays.masks:
        yield (
            f"`/masks` of {' and '.join(masks)} are 1 where pixels count, and 0 elsewhere: leave the others out of "
            "losses and scores."
        )
    if (ignore := record.arrays.ignore) is not None:
        yield f"Label {ignore} marks pixels that mean nothing: leave them out of losses and scores."


def _block(lines: Sequence[str], language: str = "") -> str:
    return "\n".join([f"```{language}", *lines, "```"])


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(f"- {escape(line)}" for line in lines)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rules = ["---" for _ in heads]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rules, *rows))


def _plain(text: str) -> str:
    return _MARKUP.sub(r"\\\1", text.replace("&", "&amp;"))


def _without_punctuation(address: str) -> str:
    """Return an address without what belongs to the sentence around it: a stop, a bracket that it does not open."""
    while address[-1] in ".,;:!?'" or (address[-1] == ")" and address.count(")") > address.count("(")):
        address = address[:-1]
    return address
