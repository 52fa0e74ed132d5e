"""A card tells what a dataset is, the same in all of its faces, and appears whole or not at all."""

import csv
import errno
import io
import json
import os
import re
import shlex
import shutil
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from small_worlds import (
    OPTIONS,
    build_small,
    count_calls,
    digest_rows,
    digests,
    edit_record,
    flip_bit,
    names,
    read_rows,
    seal,
    small_config,
    small_stack,
    write_folder,
    write_rows,
)

from augment.ranges import AugmentRanges
from pipeline.audit.auditing import audit_dataset
from pipeline.audit.report import AuditReport, Finding
from pipeline.build.builder import build_dataset
from pipeline.card.contents import Card, CardRows, describe_card, gather_rows
from pipeline.card.croissant import make_croissant
from pipeline.card.files import CARD_FILES
from pipeline.card.folder import card_files, write_card
from pipeline.card.kaggle import make_metadata
from pipeline.card.kaggle_terms import COVER_SIZE_PX, SLUG_LENGTHS, SUBTITLE_LENGTHS, TITLE_LENGTHS
from pipeline.card.readme import escape, link, make_readme
from pipeline.card.sentences import guarantee, kaggle_licence, licence_text, licence_values, limits, rendering, summary
from pipeline.errors import DamagedError, StorageError
from pipeline.files import locked
from pipeline.files import write_folder as write_folder_of_files
from pipeline.shards.config import SPLIT_LETTERS
from pipeline.shards.dataset import Dataset, open_dataset
from pipeline.shards.digest import canonical_json, file_digest
from pipeline.shards.manifest import ManifestRow, sample_id
from pipeline.shards.provenance import SourceFacts, StackPart
from pipeline.shards.record import StackSlices
from pipeline.source.build_info import BuildInfo, read_build_info
from pipeline.source.combining import make_source
from pipeline.source.known_stacks import recognise
from pipeline.source.phantom import make_phantom
from pipeline.source.readers import IMAGES_FILE, LABELS_FILE, phantom_source, read_files, read_pairs
from pipeline.source.stacks import Source
from pipeline.verify.verification import verify_dataset

Run = Callable[..., Any]
ISBI = Path(__file__).parents[4] / "shared" / "data" / "isbi2012"


@contextmanager
def described(folder: Path, report: AuditReport | None = None, licence: str | None = None) -> Iterator[Card]:
    """Lend the card of a dataset, audited unless there is a report. Small samples are too small to be found."""
    dataset = open_dataset(folder)
    with gather_rows(dataset) as rows:
        if report is None:
            report = audit_dataset(dataset, gap=1, allow_unknown=True, jobs=1, on_row=rows.add)
        else:
            for row in dataset.rows():
                rows.add(row)
        yield describe_card(dataset, report, rows, licence=licence)


@pytest.fixture(scope="module")
def card(built: Path) -> Iterator[Card]:
    """The card of the small dataset."""
    with described(built) as card:
        yield card


def about(card: Card, **changes: Any) -> Card:
    """Return the card of a dataset of which something else is recorded."""
    record = replace(card.record, **changes)
    return replace(card, dataset=Dataset(card.dataset.folder, record, card.dataset.digest))


def from_source(card: Card, title: str = "t", **facts: Any) -> Card:
    """Return the card of a dataset of whose source something else is known."""
    return about(card, source=SourceFacts(title=title, **facts))


def with_ranges(card: Card, **changes: Any) -> Card:
    config = card.record.config
    return about(card, config=replace(config, ranges=replace(config.ranges, **changes)))


def with_letters(card: Card, letters: list[str]) -> Card:
    """Return the card of a dataset whose slices are assigned as the letters say, one text a stack."""
    slices = {
        split or "unused": tuple(
            StackSlices(stack, tuple(z for z, each in enumerate(text) if each == sign))
            for stack, text in enumerate(letters)
        )
        for sign, split in SPLIT_LETTERS.items()
    }
    stack = card.record.inputs[0]
    inputs = tuple(
        replace(stack, images=replace(stack.images, shape=(len(text), *stack.slice_size))) for text in letters
    )
    return about(card, inputs=inputs, split=replace(card.record.split, slices=slices))


def test_a_card_is_seven_files_beside_an_untouched_dataset(carded: Path, built: Path) -> None:
    assert names(carded / "card") == sorted(CARD_FILES)
    assert names(carded) == sorted([*names(built), "card", *(f"card/{name}" for name in CARD_FILES)])
    assert {path: digest for path, digest in digests(carded).items() if "/" not in path} == digests(built)


def test_the_card_begins_with_what_matters(carded: Path) -> None:
    text = (carded / "card" / "README.md").read_text(encoding="utf-8")
    order = [
        "# small: 12 samples of 11 annotated slices",
        "12 images of 40 x 36 px with their labels (9 train, 3 test)",
        "TTTTTTTT.EEE",
        "| `T` | train | 8 | 9 |",
        "| `E` | test | 3 | 3 |",
        "| `.` | unused | 1 |",
        "Split strategy block: the end of every stack is held out",
        "**Guarantee.** Whole slices were assigned",
        "between two splits of a stack at least 1 slice is left out (the gap)",
        "CLEAN: no test sample shows tissue that was trained on",
        "the same stack as training slices",
        "The gap is 1, below 3",
        "The audit checked a gap of only 1",
        "Licence: not recorded",
        "augpipe rebuild",
        f"`{file_digest(carded / 'dataset.json')}`",
        "## Loading it",
        "![Samples beside",
        "## What is in it",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert text.count("audit checked") == 1


def code_of(text: str, library: str) -> str:
    """Return the lines that load the dataset with a library."""
    [code] = re.findall(rf"{library}:\n\n```python\n(.*?)```", text, re.DOTALL)
    return str(code)


def ids_of_objects() -> NDArray[np.uint16]:
    """Return labels with more ids than there can be classes, above 255."""
    labels = np.zeros(small_stack()[1].shape, np.uint16)
    for k in range(40):
        labels[:, k : k + 1, :20] = 1000 + k
    return labels


@pytest.fixture(scope="module")
def dtypes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Datasets of every dtype that loading treats in its own way, with their cards."""
    images, labels = small_stack()
    made = {}
    for dtype in ("uint8", "uint16", "float32"):
        kind = ids_of_objects() if dtype == "uint16" else labels
        source = make_source(images.astype(dtype) * (200 if dtype == "uint16" else 1), kind, name=dtype)
        made[dtype] = build_dataset(source, small_config(), out=tmp_path_factory.mktemp("dtypes") / dtype, jobs=1).out
        write_card(made[dtype], gap=1, allow_unknown=True, jobs=1)
    return made


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("library", ["h5py", "PyTorch", pytest.param("Keras", marks=pytest.mark.slow)])
def test_its_lines_load_the_training_samples(
    dtypes: dict[str, Path], monkeypatch: pytest.MonkeyPatch, library: str, dtype: str
) -> None:
    """They run in the folder that the card names, as they stand there, and what they load can be computed with."""
    text = (dtypes[dtype] / "card" / "README.md").read_text(encoding="utf-8")
    assert "Run these in the folder that holds `dataset.json`." in text[text.index("## Loading it") :]
    code = code_of(text, library)
    assert len(code.strip().replace("\n\n", "\n").splitlines()) <= 5
    assert ("labels > 0" in code) == (dtype == "uint16")
    monkeypatch.chdir(dtypes[dtype])
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    for module in {"h5py": (), "PyTorch": ("torch",), "Keras": ("torch", "keras")}[library]:
        pytest.importorskip(module)
    fitted: list[Any] = []

    class Model:
        def fit(self, images: Any, labels: Any, batch_size: int) -> None:
            fitted.extend([images, labels, batch_size])

    found: dict[str, Any] = {"model": Model()}
    exec(code, found)
    train = open_dataset(dtypes[dtype])["train"]
    images, labels = train.images[:], train.labels[:]
    if library == "h5py":
        assert (found["images"] == images).all()
        assert (found["labels"] == labels).all()
    elif library == "PyTorch":
        batches = list(found["batches"])
        assert sum(float((batch > 0).double().sum()) for batch, _ in batches) == (images > 0).sum()
        assert sum(float((batch * 1).double().sum()) for batch, _ in batches) == images.sum(dtype=float)
        assert sum(float((batch * 1).double().sum()) for _, batch in batches) == labels.sum(dtype=float)
        assert batches[0][0].shape == (4, 40, 36)
    else:
        assert (fitted[0] == images[..., None]).all()
        assert (fitted[1] == labels[..., None]).all()


def commands_of(dataset: Path) -> list[list[str]]:
    """Return the commands in a card that make the dataset again and verify it, as a shell takes them apart."""
    text = (dataset / "card" / "README.md").read_text(encoding="utf-8")
    [block] = re.findall(r"folder that holds `dataset.json`:\n\n```\n(.*?)```", text, re.DOTALL)
    lines = [shlex.split(line, comments=True) for line in block.replace("\\\n", " ").splitlines()]
    assert {line[0] for line in lines} == {"augpipe"}
    return [line[1:] for line in lines]


def one_stack(folder: Path) -> tuple[Source, dict[str, Path]]:
    write_folder(folder, *small_stack())
    files = {"IMAGES": folder / "raw.tif", "LABELS": folder / "seg.tif"}
    (folder / IMAGES_FILE).rename(files["IMAGES"])
    (folder / LABELS_FILE).rename(files["LABELS"])
    return read_files(files["IMAGES"], files["LABELS"], name="phantom"), files  # a name alone is no phantom


def two_stacks(folder: Path) -> tuple[Source, dict[str, Path]]:
    files = {}
    for stack in (0, 1):
        write_folder(folder / str(stack), *make_phantom((8, 64, 72), seed=stack + 3))
        files |= {
            f"IMAGES_{stack}": folder / f"{stack}" / IMAGES_FILE,
            f"LABELS_{stack}": folder / f"{stack}" / LABELS_FILE,
        }
    pairs = [(files[f"IMAGES_{stack}"], files[f"LABELS_{stack}"]) for stack in (0, 1)]
    return read_pairs(pairs, name="two"), files


@pytest.mark.parametrize("make", [one_stack, two_stacks, lambda _: (phantom_source(), {})], ids=["1", "2", "phantom"])
def test_its_commands_make_the_same_bytes_where_it_says_they_do(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    augpipe: Run,
    make: Callable[[Path], tuple[Source, dict[str, Path]]],
) -> None:
    source, files = make(tmp_path / "source")
    dataset = build_dataset(source, small_config(n=4, shard_size=64), out=tmp_path / "dataset", jobs=1).out
    write_card(dataset, gap=1, allow_unknown=True, jobs=1)
    (dataset / "build-info.json").unlink()  # as it is published
    rebuild, verify = commands_of(dataset)
    monkeypatch.chdir(dataset)
    assert augpipe(*[files.get(word, word) for word in rebuild], "--jobs", 1, "--quiet") == (0, "", "")
    assert augpipe(*verify, "--quiet").code == 0
    before = {name: digest for name, digest in digests(dataset).items() if "/" not in name}
    assert digests(tmp_path / "REBUILT") == before


def test_the_index_says_what_the_manifest_says(tmp_path: Path) -> None:
    out = build_small(tmp_path / "d", ranges=AugmentRanges(flip=True)).out
    with described(out) as card:
        lines = list(csv.DictReader(io.StringIO(card.index.read_text(encoding="utf-8"))))
    rows = read_rows(out)
    assert len(lines) == len(rows) == 12
    assert {line["flip"] for line in lines} == {"true", "false"}
    for line, row in zip(lines, rows, strict=True):
        same = ("id", "split", "shard", "row", "stack", "z", "replicate", "image_sha256", "label_sha256")
        assert {name: line[name] for name in same} == {name: str(row[name]) for name in same}
        recipe = row["recipe"]
        assert float(line["angle_deg"]) == recipe["angle_deg"]
        assert [float(line["shift_y_px"]), float(line["shift_x_px"])] == recipe["shift_px"]
        assert float(line["grid_largest_px"]) == np.abs(recipe["grid_px"]).max()
        assert line["flip"] == json.dumps(recipe["flip"])


def test_stored_weights_have_a_column(tmp_path: Path) -> None:
    out = build_small(tmp_path / "d", weights="unet2015").out
    with described(out) as card:
        lines = list(csv.DictReader(io.StringIO(card.index.read_text(encoding="utf-8"))))
    assert [line["weights_sha256"] for line in lines] == [row["weights_sha256"] for row in read_rows(out)]
    assert "`/weights`" in make_readme(card)


def test_images_are_images(carded: Path) -> None:
    assert Image.open(carded / "card" / "dataset-cover-image.png").size == COVER_SIZE_PX
    assert Image.open(carded / "card" / "preview.png").format == "PNG"


def test_the_audit_report_is_of_this_dataset(carded: Path) -> None:
    report = json.loads((carded / "card" / "audit.json").read_bytes())
    assert report["dataset_sha256"] == file_digest(carded / "dataset.json")
    assert (report["gap"], report["subject"]) == (1, "small")


def content(file: bytes | Path) -> bytes:
    return file if isinstance(file, bytes) else file.read_bytes()


def test_every_face_has_the_same_facts(card: Card) -> None:
    """They come from one record: what changes there changes in all of them."""
    other = from_source(card, "another stack", licence="CC-BY-4.0", citation="A. Uthor 1999")
    files = card_files(other)
    for name in ("README.md", "croissant.json", "dataset-metadata.json"):
        assert b"another stack" in content(files[name])
        assert b"A. Uthor 1999" in content(files[name])
    assert b"https://creativecommons.org/licenses/by/4.0/" in content(files["croissant.json"])
    assert json.loads(content(files["dataset-metadata.json"]))["licenses"] == [{"name": "CC-BY-4.0"}]


def test_kaggles_limits_are_kept(card: Card, carded: Path) -> None:
    """docs/datasets_metadata.md of Kaggle's client."""
    for each in (card, about(card, name=f"A_{'x' * 78}"), about(card, name="x")):
        values = make_metadata(each)
        assert TITLE_LENGTHS[0] <= len(values["title"]) <= TITLE_LENGTHS[1]
        assert SUBTITLE_LENGTHS[0] <= len(values["subtitle"]) <= SUBTITLE_LENGTHS[1]
        slug = values["id"].split("/")[1]
        assert SLUG_LENGTHS[0] <= len(slug) <= SLUG_LENGTHS[1]
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug)
    values = json.loads((carded / "card" / "dataset-metadata.json").read_bytes())
    there = {path.name for folder in (carded, carded / "card") for path in folder.iterdir()}
    assert {resource["path"] for resource in values["resources"]} | {values["image"]} <= there
    header = (carded / "card" / "index.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
    assert [field["name"] for field in values["resources"][0]["schema"]["fields"]] == header
    chosen = make_metadata(replace(card, licence="CC0-1.0"), dataset_id="me/mine", title="My title")
    assert (chosen["id"], chosen["title"], chosen["licenses"]) == ("me/mine", "My title", [{"name": "CC0-1.0"}])
    assert "](preview.png)" not in values["description"]  # there is nothing beside a description that it could show


@pytest.mark.parametrize("outcome", ["LEAKAGE", "NOT CLEAN", "NOT PROVEN", "CLEAN"])
def test_a_subtitle_tells_the_verdict_in_the_room_that_there_is(card: Card, outcome: str) -> None:
    severity = {"LEAKAGE": "critical", "NOT CLEAN": "error"}.get(outcome)
    checks = card.report.checks
    report = replace(
        card.report,
        findings=(Finding("P001", severity, "found"),) if severity else (),  # type: ignore[arg-type]
        checks=(replace(checks[0], status="not run"), *checks[1:]) if outcome == "NOT PROVEN" else checks,
    )
    small = replace(card, report=report, n_slices=1)
    shard, last = card.record.shards[0], replace(card.record.shards[-1], n=1)
    large = from_source(replace(small, n_slices=10**5), synthetic=True)
    large = about(large, shards=(replace(shard, n=10**9 - 1), last))
    assert report.outcome == outcome
    for each in (about(small, shards=(replace(shard, n=1), last)), large):
        subtitle = make_metadata(each)["subtitle"]
        assert SUBTITLE_LENGTHS[0] <= len(subtitle) <= SUBTITLE_LENGTHS[1]
        assert (outcome in subtitle) == (outcome != "CLEAN")
        assert ("audited against leakage" in subtitle) == (outcome == "CLEAN")


def test_names_are_cut_so_that_they_read_well(card: Card) -> None:
    def metadata(name: str, **config: Any) -> dict[str, Any]:
        return make_metadata(about(card, name=name, config=replace(card.record.config, **config)))

    assert metadata("a-rather-long-name-of-a-stack_of-mouse-cortex")["title"] == (
        "a-rather-long-name-of-a-stack_of...: 12 samples"
    )
    slug = metadata("x", n=10**9, seed=2**128 - 1)["id"].split("/")[1]
    assert slug == f"x-{card.record.fingerprint[:12]}"


def test_folds_are_told_apart(tmp_path: Path) -> None:
    for fold in (0, 1):
        out = build_small(tmp_path / str(fold), split="kfold", folds=3, fold=fold, n=6).out
        with described(out) as card:
            values, text, name = make_metadata(card), make_readme(card), make_croissant(card)["name"]
        assert values["title"] == f"small, fold {fold} of 3: 6 samples"
        assert values["id"].endswith(f"/small-n6-seed0-fold{fold}of3")
        assert text.startswith(f"# small, fold {fold} of 3: 6 samples")
        assert f"kfold: one of several blocks of every stack is held out; fold {fold} of 3, counted from 0" in text
        assert name == f"small-fold{fold}of3"


@pytest.mark.parametrize(
    ("recorded", "kaggles", "page"),
    [
        (None, "unknown", ""),
        ("cc-by-4.0", "CC-BY-4.0", "https://creativecommons.org/licenses/by/4.0/"),
        ("MIT", "other", "https://spdx.org/licenses/MIT.html"),
        ("free for research with citation", "other", ""),
    ],
)
def test_licences_are_those_of_the_source(card: Card, recorded: str | None, kaggles: str, page: str) -> None:
    known = from_source(card, licence=recorded)
    assert kaggle_licence(known) == kaggles
    assert page in licence_text(known)
    assert not page or licence_values(known) == page
    assert recorded is None or recorded in make_readme(known)


@pytest.mark.parametrize(
    ("recorded", "chosen", "said", "values"),
    [
        (
            "free for research with citation",
            "CC0-1.0",
            "CC0-1.0 (https://creativecommons.org/publicdomain/zero/1.0/), as its publisher chose; the source's: free",
            ["https://creativecommons.org/publicdomain/zero/1.0/", "as its publisher chose"],
        ),
        ("free for research", "other", "the source's terms: free for research", ["free for research"]),
        ("cc0-1.0", "CC0-1.0", "cc0-1.0 (https://creativecommons.org/publicdomain/zero/1.0/)", ["/zero/1.0/"]),
        (
            None,
            "copyright-authors",
            "copyright-authors, as its publisher chose; the source's: not recorded",
            ["-authors"],
        ),
    ],
)
def test_a_licence_that_was_chosen_is_told_beside_that_of_the_source(
    card: Card, recorded: str | None, chosen: str, said: str, values: list[str]
) -> None:
    with described(card.dataset.folder, card.report, licence=chosen) as published:
        known = from_source(published, licence=recorded)
        licences = make_croissant(known)["license"]
    assert licence_text(known).startswith(said)
    assert escape(said) in make_readme(known)
    told_there = licences if isinstance(licences, list) else [licences]
    assert all(any(value in each for each in told_there) for value in values)
    assert len(told_there) == 1 + ("chose" in said)
    assert make_metadata(known)["licenses"] == [{"name": chosen}]


def test_terms_of_single_stacks_are_told(card: Card) -> None:
    part = StackPart(stack=1, title="a known stack", licence="CC0-1.0", citation="A. Uthor 1999", synthetic=False)
    known = from_source(about(card, inputs=card.record.inputs * 2), "mixed", parts=(part,))
    text = make_readme(known)
    assert "- Licence: stack 1: CC0-1.0; all others: not recorded" in text
    assert "- To cite: stack 1: A. Uthor 1999; all others: not recorded" in text
    assert "- Stack 1: a known stack" in text
    synthetic = from_source(known, "mixed", parts=(replace(part, citation="none (synthetic)"),))
    assert "- To cite: stack 1: nothing (synthetic)" in make_readme(synthetic)
    values = make_croissant(known)
    assert values["license"] == "stack 1: CC0-1.0; all others: not recorded"
    assert "A. Uthor 1999" in values["citeAs"]
    assert "A. Uthor 1999" in make_metadata(known)["userSpecifiedSources"]


@pytest.mark.parametrize(
    ("letters", "split", "words"),
    [
        (["TTTTTTTT.EEE"], {"gap": 3}, "Test slices come from the same stack as"),
        (["TTT", "EEE"], {"gap": None}, "other stacks than training slices, but from the same source"),
        (["TTT...EEE", "EEE"], {"gap": 3}, "Some test slices come from the same stack"),
        (["TTTTTTTT.EEE"], {"gap": None, "independent": True}, "Test fields of view"),
        (["TTTTTTTT.EEE"], {"gap": 0}, "The gap is 0, below 3"),
        (["TT...VV"], {"gap": 3}, "Validation slices come from the same"),
        (["TTT"], {"gap": None}, "Nothing is held out"),
    ],
)
def test_limits_are_those_of_the_split(card: Card, letters: list[str], split: dict[str, Any], words: str) -> None:
    shard, names = card.record.shards[0], {"T": "train", "V": "val", "E": "test"}
    shards = tuple(
        replace(shard, split=name, file=f"{name}-00000.h5") for sign, name in names.items() if sign in "".join(letters)
    )
    known = about(with_letters(card, letters), shards=shards)
    known = about(known, split=replace(known.record.split, **split))
    known = replace(known, report=replace(card.report, gap=3))
    said = " ".join(limits(known))
    assert words in said
    assert ("below 3" in said) == (split["gap"] == 0)
    assert "The audit checked" not in said
    assert ("(the gap)" in guarantee(known)) == (split["gap"] == 3)
    assert ("no gap: neighbouring slices are in different splits" in guarantee(known)) == (split["gap"] == 0)
    near = " ".join(limits(replace(known, report=replace(card.report, gap=1))))
    assert ("The audit checked a gap of only 1, not the usual 3" in near) == (split["gap"] is not None)


def test_without_a_test_split_nothing_is_said_of_one(tmp_path: Path) -> None:
    config = {"n": 4, "test": 0.0}
    for name, changes in {"train": {}, "val": {"val": 0.3}}.items():
        out = build_small(tmp_path / name, **config, **changes).out
        with described(out) as known:
            text, values = make_readme(known), make_croissant(known)
        assert "test slice" not in text.lower()
        assert "test sample" not in text
        assert "est s" not in json.dumps(values)
        assert known.held_out == tuple({"val"} & {name})
        assert "**Guarantee.**" not in text, "nothing is held out, or it is too small to be compared"
        assert make_metadata(known)["subtitle"].endswith(
            "NOT PROVEN free of leakage" if name == "val" else "training only"
        )


def test_slices_that_no_sample_shows_are_not_counted_as_shown(tmp_path: Path) -> None:
    with described(build_small(tmp_path / "d", n=2).out) as card:
        pass
    assert "augmented from 2 of 11 annotated slices of" in summary(card)
    assert make_readme(card).startswith("# small: 2 samples of 2 annotated slices\n")
    assert "2 samples of 2 slices" in " ".join(limits(card))


def test_what_was_done_to_slices_is_told(card: Card) -> None:
    plain = rendering(with_ranges(card, rotate_deg=(0.0, 0.0), sigma_px=0.0))
    rich = rendering(with_ranges(card, flip=True, zoom=(0.8, 1.25), bias=(-5.0, 5.0)))
    for part in ("rotated by 0 to 360", "at random", "magnified 0.8 to 1.25", "by a spline", "(gain 1, bias -5 to 5)"):
        assert part in rich
        assert part not in plain
    assert "reach every corner" in plain
    assert "in one resampling" in plain
    assert "points over the window (10 px s.d.)" in rich
    staged = rendering(about(card, config=replace(card.record.config, engine="staged")))
    focused = replace(card.record.config, focus="class", min_foreground=0.01)
    chosen = rendering(about(card, schema="augpipe/dataset/2", config=focused))
    assert "33% of the training samples have a pixel of a class of the slice in their centre." in chosen
    assert "Training samples with less than 0.01 of foreground were drawn again." in chosen
    some = AugmentRanges(noise=(2.0, 9.0), zoom=(0.5, 2.0), probability={"noise": 0.3, "rotate": 0.2, "zoom": 0.4})
    noisy = replace(card.record.config, ranges=some)
    noisy_text = rendering(about(card, schema="augpipe/dataset/2", config=noisy))
    assert "changed by noise (2 to 9 in 30% of the samples) and cropped" in noisy_text
    eighth = replace(some, flip=True, probability={"noise": 0.125, "rotate": 0.2})
    eighth_text = rendering(about(card, schema="augpipe/dataset/2", config=replace(card.record.config, ranges=eighth)))
    assert "in 12.5% of the samples" in eighth_text
    assert "flipped left to right at random, and where it was not rotated, turned upside down at random," in eighth_text
    assert "upside down" not in rich + noisy_text
    faulty = replace(card.record.config, ranges=AugmentRanges(defects=(5.0, 20.0)))
    assert "say nothing where a fault hides it" in rendering(about(card, schema="augpipe/dataset/2", config=faulty))
    assert "rotated by 0 to 360 degrees in 20% of the samples, magnified 0.5 to 2 times in 40% of" in noisy_text
    assert "training samples" not in plain
    assert "stage by stage" in staged
    assert "in one resampling" not in staged


@pytest.mark.parametrize(
    ("ranges", "words", "not_said"),
    [
        ({"extent": "padded"}, "over the padded slice", "over the window"),
        ({"shift_px": 8.0}, "shifted by up to 8 px", "every corner"),
        ({"shift_px": 0.0}, "cropped", "shifted"),
        ({"rotate_deg": (90.0, 90.0)}, "rotated by 90 degrees", "0 to 360"),
    ],
)
def test_what_was_done_is_not_told_otherwise(card: Card, ranges: dict[str, Any], words: str, not_said: str) -> None:
    text = rendering(with_ranges(card, **ranges))
    assert words in text
    assert not_said not in text


def test_what_is_synthetic_is_said_to_be(card: Card) -> None:
    known = from_source(card, "augpipe phantom", synthetic=True, citation="none (synthetic)")
    assert "shows no real tissue" in make_readme(known)
    assert "synthetic" in make_metadata(known)["subtitle"]
    assert "To cite: nothing (synthetic)" in make_readme(known)


def test_classes_are_named_where_they_are_known(card: Card) -> None:
    inputs = phantom_source().inputs
    assert recognise(inputs, "x")[0] == "phantom"
    assert "| 0 | 0 | membrane |\n| 1 | 255 | cell |" in make_readme(about(card, inputs=inputs))
    assert "what it is" not in make_readme(card)
    assert "what it is" not in make_readme(about(card, inputs=inputs * 2))


@pytest.mark.isbi
@pytest.mark.skipif(not ISBI.is_dir(), reason="../shared/data/isbi2012 is not there")
def test_membranes_are_dark_where_they_are_known(card: Card) -> None:
    source = read_files(ISBI / IMAGES_FILE, ISBI / LABELS_FILE)
    text = make_readme(about(card, inputs=source.inputs))
    assert "| 0 | 0 | membrane |\n| 1 | 255 | cell |" in text
    image, label = source.stacks[0].images[0], source.stacks[0].labels[0]
    assert image[label == 0].mean() < image[label == 1].mean() - 30
    assert (label == 0).mean() < 0.5


def test_nothing_in_it_is_markup_of_others(card: Card) -> None:
    text = make_readme(from_source(card, "a|b <script> [x](y) *z* &lt;i&gt;", citation="`rm`"))
    for raw in ("a|b", "<script>", "[x](y)", "*z*", "`rm`", "&lt;", "&gt;"):
        assert raw not in text
    assert "&amp;lt;i" in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("A_b 1999, https://doi.org/10.1/a_b(2)c.", "A\\_b 1999, <https://doi.org/10.1/a_b(2)c>."),
        ("see (https://x.org/~bob/a*b)", "see (<https://x.org/~bob/a*b>)"),
        ("R&D \n# title", "R&amp;D \\# title"),
    ],
)
def test_addresses_stay_links(text: str, shown: str) -> None:
    assert escape(text) == shown


def test_an_address_cannot_break_out_of_its_link(card: Card) -> None:
    assert link("https://x/~bob/a_b_c?d=e&f=ü") == "<https://x/~bob/a_b_c?d=e&f=ü>"
    assert link("https://x/><script>`|\\") == "<https://x/%3E%3Cscript%3E%60%7C%5C>"
    text = make_readme(from_source(card, url="https://x.org/~bob/a_b_c"))
    assert "- Found at: <https://x.org/~bob/a_b_c>\n" in text


def test_a_card_does_not_say_where_it_was_made(tmp_path: Path) -> None:
    """An audit's report names folders, also in why a check was not run; a card leaves the machine."""
    images, labels = small_stack()
    source = write_folder(tmp_path / "source", images, labels)
    out = tmp_path / "home" / "someone" / "dataset"
    from pipeline.cli import main

    assert main(["build", str(source), "--out", str(out), "--quiet", *OPTIONS]) == 0
    shutil.rmtree(source)
    write_folder(source, images[::-1].copy(), labels[::-1].copy())  # another one now: a check cannot be run
    assert any(str(tmp_path) in check.reason for check in audit_dataset(out, gap=1, jobs=1).checks)
    card = write_card(out, gap=1, allow_unknown=True, jobs=1)
    assert card.report.exit_code == 3
    for path in (out / "card").iterdir():
        assert str(tmp_path).encode() not in path.read_bytes(), path.name
    assert b"NOT PROVEN" in (out / "card" / "README.md").read_bytes()


def test_the_manifest_is_read_once(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = count_calls(monkeypatch, "pipeline.shards.manifest.parse_line")
    write_card(dataset, gap=1, allow_unknown=True, jobs=1)
    assert len(parsed) == 12


def test_memory_does_not_grow_with_the_number_of_samples(card: Card) -> None:
    [row] = [row for row in card.dataset.rows() if row.replicate == 0 and row.z == 0]

    def rows(n: int) -> Iterator[ManifestRow]:
        yield from card.dataset.rows()
        for k in range(1000, 1000 + n):
            yield replace(row, id=sample_id(0, 0, k), replicate=k, row=k)

    def peak(n: int) -> int:
        tracemalloc.start()
        try:
            with gather_rows(card.dataset) as gathered:
                for each in rows(n):
                    gathered.add(each)
                known = describe_card(card.dataset, card.report, gathered)
                assert known.index.stat().st_size > 300 * n
            assert all((make_readme(known), make_metadata(known)))  # Croissant reads the index, block by block
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)
    # Of two, the smaller: what Python itself keeps, such as its table of interned names, may grow in one of them.
    assert min(peak(5000), peak(5000)) < peak(500) + 50_000


def test_an_index_that_does_not_fit_on_the_disk_is_a_typed_error(card: Card) -> None:
    class Full(io.StringIO):
        name = "index.csv"

        def write(self, _: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StorageError, match=r"index\.csv: the disk is full"):
        CardRows(card.dataset, Full())


def test_the_same_dataset_has_the_same_card(carded: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(carded, tmp_path / "elsewhere"))
    write_card(copy, gap=1, allow_unknown=True, jobs=2)
    assert digests(copy) == digests(carded)


def test_a_published_card_lies_beside_the_data(carded: Path, card: Card, tmp_path: Path) -> None:
    """As publishing makes it: from a report that was made before, and for a copy of the dataset."""
    published = Path(shutil.copytree(carded, tmp_path / "published", ignore=shutil.ignore_patterns("card")))
    with described(carded, card.report) as known:
        for name, data in card_files(known, url="https://example.org/set").items():
            (published / name).write_bytes(content(data))
    values = json.loads((published / "croissant.json").read_bytes())
    assert values["url"] == "https://example.org/set"
    for file in values["distribution"]:
        assert file["contentUrl"] == file["name"]
        assert file_digest(published / file["contentUrl"]) == file["sha256"]
    same = [name for name in CARD_FILES if name != "croissant.json"]
    assert [(published / name).read_bytes() for name in same] == [
        (carded / "card" / name).read_bytes() for name in same
    ]


def faces(dataset: Path) -> tuple[str, str, list[str]]:
    """Return a card's text, its subtitle on Kaggle, and the limitations that Croissant tells."""
    text, *files = ((dataset / "card" / name).read_text(encoding="utf-8") for name in CARD_FILES[:3])
    values, metadata = map(json.loads, files)
    return text, metadata["subtitle"], values["rai:dataLimitations"]


def test_a_leaking_dataset_gets_a_card_that_says_so(dataset: Path, augpipe: Run) -> None:
    """Two test samples are training samples; whoever did that took care of the records."""
    rows = read_rows(dataset)
    train, test = ([row for row in rows if row["split"] == split] for split in ("train", "test"))
    with h5py.File(dataset / train[0]["shard"], "r") as there, h5py.File(dataset / test[0]["shard"], "r+") as here:
        for row in (0, 1):
            here["images"][row], here["labels"][row] = there["images"][row], there["labels"][row]
    write_rows(dataset, digest_rows(dataset))
    seal(dataset)
    code, out, err = augpipe("card", dataset, "--jobs", 1, "--quiet", "--gap", 1, "--allow-unknown")
    assert (code, err) == (1, "")
    leak = "2 of 3 test samples show tissue that was trained on"
    verdict = f"LEAKAGE: {leak}; 2 of 12 samples were neither proven nor compared"
    assert out == f"{verdict}\n"
    text, subtitle, limitations = faces(dataset)
    assert f"**Audit** (gap 1): {verdict}." in text
    assert "Guarantee" not in text
    assert "**Splits.** By the dataset's own records, whole slices" in text
    assert "- Critical: " in text
    assert subtitle == "12 samples of 11 slices, LEAKAGE: see its audit"
    assert limitations[0] == f"Audit: {verdict}."
    assert b"audited against leakage" not in (dataset / "card" / "dataset-metadata.json").read_bytes()


def test_splits_that_are_too_near_are_not_clean(dataset: Path, augpipe: Run) -> None:
    assert augpipe("card", dataset, "--jobs", 1, "--quiet", "--allow-unknown").code == 1  # at a gap of 3
    text, subtitle, limitations = faces(dataset)
    assert "NOT CLEAN: " in text
    assert "Guarantee" not in text
    assert subtitle.endswith("NOT CLEAN: see its audit")
    assert limitations[0].startswith("Audit: NOT CLEAN")


def test_what_the_audit_only_warns_of_is_told(card: Card) -> None:
    warning = Finding("S001", "warning", "slice 3 is in the source twice, as slice_4")
    known = replace(card, report=replace(card.report, findings=(warning,) * 12))
    assert known.report.exit_code == 0
    text = make_readme(known)
    told_at = text.index("- Warning: slice 3 is in the source twice, as slice\\_4.")
    assert text.index("**Audit**") < told_at < text.index("**Limits.**")
    assert text.count("- Warning") == 10
    assert "- And 2 more findings, in audit.json." in text
    assert make_croissant(known)["rai:dataLimitations"][1] == "Warning: slice 3 is in the source twice, as slice_4."


def test_what_made_the_samples_is_not_what_made_the_card(dataset: Path, card: Card) -> None:
    path = dataset / "build-info.json"
    values = json.loads(path.read_bytes())
    values["versions"]["augpipe"], values["finished"] = "0.0.7", "2001-02-03T04:05:06Z"
    path.write_bytes(canonical_json(values))
    with described(dataset, card.report) as known:
        values = make_croissant(known)
    assert (known.built_by, known.date) == ("0.0.7", "2001-02-03")
    assert f"made by augpipe 0.0.7, renderer version 1; this card by augpipe {known.version}" in make_readme(known)
    assert values["prov:wasGeneratedBy"]["prov:wasAssociatedWith"]["prov:label"] == "augpipe 0.0.7"
    assert "made with augpipe 0.0.7" in values["citeAs"]
    assert values["datePublished"] == "2001-02-03"
    path.unlink()
    os.utime(dataset / "dataset.json", (10**9, 10**9))
    with described(dataset, card.report) as published:
        values = make_croissant(published)
    assert (published.built_by, published.date) == (None, "2001-09-09")
    assert "augpipe (version not recorded)" in values["citeAs"]


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    "spoil",
    [
        make_pipe,
        lambda path: path.write_bytes(b"[" * 100_000),
        lambda path: path.write_bytes(b'{"inputs": 3, "versions": {"augpipe": "1\\n2"}, "finished": 5}'),
        lambda path: path.write_bytes(b'{"inputs": [{"images": {"path": 3}}], "versions": [], "finished": "today"}'),
    ],
    ids=["a pipe", "deep", "a number", "others"],
)
def test_build_info_may_be_anything(dataset: Path, spoil: Callable[[Path], Any]) -> None:
    spoil(dataset / "build-info.json")
    assert read_build_info(dataset) == BuildInfo()
    with described(dataset) as card:
        assert card.built_by is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: flip_bit(folder / "train-00000.h5", 5000),
        lambda folder: edit_record(folder, lambda values: values["config"].update(seed=1)),
        lambda folder: (folder / "test-00000.h5").unlink(),
    ],
    ids=["a bit", "an option", "a shard"],
)
def test_a_damaged_dataset_gets_none(dataset: Path, augpipe: Run, damage: Callable[[Path], None]) -> None:
    damage(dataset)
    before = names(dataset)
    code, out, err = augpipe("card", dataset, "--jobs", 1, "--gap", 1)
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert names(dataset) == before
    with pytest.raises(DamagedError):
        write_card(dataset, gap=1, jobs=1)


@pytest.mark.parametrize("failing", [".README.md.tmp", ".index.csv.tmp", ".card.partial"])
def test_a_card_that_cannot_be_written_leaves_the_one_before(
    carded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    dataset = Path(shutil.copytree(carded, tmp_path / "dataset"))
    before = digests(dataset)
    plain_rename, plain_replace = Path.rename, Path.replace

    def refuse(plain: Any) -> Any:
        def move(self: Path, target: Path) -> Path:
            if self.name == failing:
                raise OSError(28, "No space left on device", str(self))
            moved: Path = plain(self, target)
            return moved

        return move

    monkeypatch.setattr(Path, "rename", refuse(plain_rename))
    monkeypatch.setattr(Path, "replace", refuse(plain_replace))
    with pytest.raises(StorageError, match="the disk is full"):
        write_card(dataset, gap=1, allow_unknown=True, jobs=1)
    assert digests(dataset) == before
    assert names(dataset) == names(carded)


def test_one_writes_at_a_time(carded: Path, tmp_path: Path) -> None:
    dataset = Path(shutil.copytree(carded, tmp_path / "dataset"))
    before = digests(dataset)
    with locked(dataset), pytest.raises(StorageError, match="another program is writing it"):
        write_folder_of_files(dataset / "card", {"README.md": b"x"} | dict.fromkeys(CARD_FILES, b"y"))
    assert digests(dataset) == before
    write_folder_of_files(dataset / "card", dict.fromkeys(CARD_FILES, b"y"))
    assert {path.read_bytes() for path in (dataset / "card").iterdir()} == {b"y"}
    assert names(dataset) == names(carded)


def test_what_others_put_into_the_folder_is_kept(carded: Path, tmp_path: Path, augpipe: Run) -> None:
    dataset = Path(shutil.copytree(carded, tmp_path / "dataset"))
    (dataset / "card" / "notes.txt").write_text("mine")
    before = digests(dataset)
    code, _, err = augpipe("card", dataset, "--gap", 1, "--allow-unknown", "--jobs", 1)
    assert code == 2
    assert "notes.txt: lies where a folder is to be replaced" in err
    assert digests(dataset) == before


def test_a_dataset_with_a_card_is_as_good_as_without(carded: Path, folder: Path, tmp_path: Path, augpipe: Run) -> None:
    dataset = Path(shutil.copytree(carded, tmp_path / "dataset"))
    (dataset / ".card.partial").mkdir()  # as a card that was killed leaves it
    (dataset / ".card.partial" / ".README.md.tmp").write_bytes(b"x")
    assert not verify_dataset(dataset, jobs=1).findings
    build = ("build", folder, "--out", dataset, *OPTIONS)
    code, out, _ = augpipe(*build)
    assert code == 0
    assert "reused" in out
    assert "card" in names(dataset)
    (dataset / "card" / "notes.txt").write_text("mine")
    code, _, err = augpipe(*build, "--seed", 1, "--overwrite")
    assert code == 2
    assert "is no part of the dataset" in err
    (dataset / "card" / "notes.txt").unlink()
    assert augpipe(*build, "--seed", 1, "--overwrite", "--quiet").code == 0
    assert "card" not in names(dataset)  # it described the dataset that was replaced


def test_the_command_tells_where_the_card_is(dataset: Path, augpipe: Run) -> None:
    arguments = ("card", dataset, "--gap", 1, "--allow-unknown", "--jobs", 1)
    code, out, err = augpipe(*arguments)
    assert (code, err) == (0, "")
    assert out.splitlines()[0].startswith("CLEAN")
    assert out.splitlines()[1] == f"card: {dataset / 'card' / 'README.md'}"
    code, out, _ = augpipe(*arguments, "--json", "-")
    assert code == 0
    report = json.loads(out)
    assert out.encode() == canonical_json(report)
    assert (report["schema"], report["gap"]) == ("augpipe/card-report/1", 1)
    assert report["dataset_sha256"] == file_digest(dataset / "dataset.json")
    assert augpipe(*arguments, "--quiet") == (0, "", "")
