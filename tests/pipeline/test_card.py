"""A card tells what a dataset is, the same in all of its faces, and appears whole or not at all."""

import csv
import fcntl
import io
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_worlds import (
    OPTIONS,
    build_small,
    digests,
    edit_record,
    flip_bit,
    names,
    read_rows,
    small_stack,
    write_folder,
)

from augment.errors import ConfigError, DamagedError, StorageError
from pipeline.audit.conductor import audit_dataset
from pipeline.card import CardRecord, card_files, describe_dataset, gather_card, write_card
from pipeline.card.index import index_csv
from pipeline.card.kaggle_metadata import kaggle_metadata
from pipeline.card.text import card_text
from pipeline.card.words import guarantee, kaggle_licence, licence, limits, rendering
from pipeline.digest import canonical_json, file_digest
from pipeline.files import write_folder as write_folder_of_files
from pipeline.kaggle_terms import COVER_SIZE_PX, SLUG_LENGTHS, SUBTITLE_LENGTHS, TITLE_LENGTHS
from pipeline.shards import open_dataset, read_record
from pipeline.shards.record import CARD_FILES
from pipeline.verify import verify_dataset

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def card(built: Path) -> CardRecord:
    """What is known of the small dataset. Its samples are too small for their slices to be found."""
    return gather_card(built, gap=1, allow_unknown=True, jobs=1)


@pytest.fixture(scope="module")
def carded(tmp_path_factory: pytest.TempPathFactory, built: Path) -> Path:
    """The small dataset with its card; tests only read it."""
    dataset = tmp_path_factory.mktemp("carded") / "dataset"
    shutil.copytree(built, dataset)
    write_card(dataset, gap=1, allow_unknown=True, jobs=1)
    return dataset


def told(card: CardRecord, **facts: Any) -> CardRecord:
    """Return the card of a dataset of which something else is known."""
    return replace(card, facts={**card.facts, **facts})


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
        "1 slice or more between two splits of a stack (the gap) belong to none",
        "CLEAN: no test sample shows tissue that was trained on",
        "the same stack as training slices",
        "The gap is 1, below 3",
        "The audit was asked for a gap of 1 alone",
        "Licence: not recorded",
        "augpipe rebuild",
        f"`{file_digest(carded / 'dataset.json')}`",
        "## Loading it",
        "preview.png",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert text.index("## Loading it") < 3000


@pytest.mark.parametrize("library", ["h5py", "PyTorch", pytest.param("Keras", marks=pytest.mark.slow)])
def test_its_lines_load_the_training_samples(carded: Path, monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    text = (carded / "card" / "README.md").read_text(encoding="utf-8")
    [(code,)] = [found.groups() for found in re.finditer(rf"{library}:\n\n```python\n(.*?)```", text, re.DOTALL)]
    assert len(code.strip().replace("\n\n", "\n").splitlines()) <= 5
    monkeypatch.chdir(carded)
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    for module in {"h5py": (), "PyTorch": ("torch",), "Keras": ("torch", "keras")}[library]:
        pytest.importorskip(module)
    fitted: list[Any] = []

    class Model:
        def fit(self, images: Any, labels: Any, batch_size: int) -> None:
            fitted.extend([images, labels, batch_size])

    found: dict[str, Any] = {"model": Model()}
    exec(code, found)
    train = open_dataset(carded)["train"]
    images, labels = train.images[:], train.labels[:]
    if library == "h5py":
        assert (found["images"] == images).all()
        assert (found["labels"] == labels).all()
    elif library == "PyTorch":
        batches = list(found["batches"])
        assert sum(int(batch.long().sum()) for batch, _ in batches) == images.sum(dtype=int)
        assert sum(int(batch.long().sum()) for _, batch in batches) == labels.sum(dtype=int)
        assert batches[0][0].shape == (4, 40, 36)
    else:
        assert (fitted[0] == images[..., None]).all()
        assert (fitted[1] == labels[..., None]).all()


def test_the_index_says_what_the_manifest_says(carded: Path) -> None:
    lines = list(csv.DictReader(io.StringIO((carded / "card" / "index.csv").read_text(encoding="utf-8"))))
    rows = read_rows(carded)
    assert len(lines) == len(rows) == 12
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
    card = gather_card(out, gap=1, allow_unknown=True, jobs=1)
    lines = list(csv.DictReader(io.StringIO(index_csv(card.rows).decode("utf-8"))))
    assert [line["weights_sha256"] for line in lines] == [row["weights_sha256"] for row in read_rows(out)]
    assert "`/weights`" in card_text(card)


def test_pictures_are_pictures(carded: Path) -> None:
    assert Image.open(carded / "card" / "dataset-cover-image.png").size == COVER_SIZE_PX
    assert Image.open(carded / "card" / "preview.png").format == "PNG"


def test_the_audit_report_is_of_this_dataset(carded: Path) -> None:
    report = json.loads((carded / "card" / "audit.json").read_bytes())
    assert report["dataset_sha256"] == file_digest(carded / "dataset.json")
    assert (report["gap"], report["subject"]) == (1, "small")


def test_every_face_has_the_same_facts(card: CardRecord) -> None:
    """They come from one record: what changes there changes in all of them."""
    other = replace(
        told(
            card, source={**card.source, "title": "another stack", "licence": "CC-BY-4.0", "citation": "A. Uthor 1999"}
        ),
        report=replace(card.report, findings=()),
    )
    files = card_files(other)
    for name in ("README.md", "croissant.json", "dataset-metadata.json"):
        assert b"another stack" in files[name]
        assert b"A. Uthor 1999" in files[name]
    assert b"https://creativecommons.org/licenses/by/4.0/" in files["croissant.json"]
    assert json.loads(files["dataset-metadata.json"])["licenses"] == [{"name": "CC-BY-4.0"}]


def test_kaggles_limits_are_kept(card: CardRecord, carded: Path) -> None:
    """docs/datasets_metadata.md of Kaggle's client."""
    long = replace(card, record=replace(card.record, name=f"A_{'x' * 78}"))
    for each in (card, long, replace(card, record=replace(card.record, name="x"))):
        values = kaggle_metadata(each)
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
    chosen = kaggle_metadata(card, dataset_id="me/mine", title="My title", licence="CC0-1.0")
    assert (chosen["id"], chosen["title"], chosen["licenses"]) == ("me/mine", "My title", [{"name": "CC0-1.0"}])


@pytest.mark.parametrize(
    ("recorded", "kaggles", "page"),
    [
        (None, "unknown", ""),
        ("cc-by-4.0", "CC-BY-4.0", "https://creativecommons.org/licenses/by/4.0/"),
        ("MIT", "other", "https://spdx.org/licenses/MIT.html"),
        ("free for research with citation", "other", ""),
    ],
)
def test_licences_are_those_of_the_source(card: CardRecord, recorded: str | None, kaggles: str, page: str) -> None:
    source = {"title": "t"} if recorded is None else {"title": "t", "licence": recorded}
    known = told(card, source=source)
    assert kaggle_licence(known) == kaggles
    assert licence(known)[1] == page
    assert recorded is None or recorded in card_text(known)


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ({"gap": 3}, "the same stack"),
        ({"gap": None}, "other stacks"),
        ({"gap": None, "independent": True}, "fields of view"),
        ({"gap": 0}, "The gap is 0, below 3"),
    ],
)
def test_limits_are_those_of_the_split(card: CardRecord, split: dict[str, Any], words: str) -> None:
    known = replace(told(card, split={**card.facts["split"], **split}), report=replace(card.report, gap=3))
    said = " ".join(limits(known))
    assert words in said
    assert ("below 3" in said) == (split["gap"] == 0)
    assert "asked for a gap" not in said
    assert ("(the gap)" in guarantee(known)) == (split["gap"] == 3)


def test_what_was_done_to_slices_is_told(card: CardRecord) -> None:
    config = card.facts["config"]
    plain = {"rotate_deg": [0.0, 0.0], "sigma_px": 0.0}
    rich = {"flip": True, "zoom": [0.8, 1.25], "gain": [1.0, 1.0], "bias": [-5.0, 5.0]}
    texts = [
        rendering(told(card, config={**config, "ranges": {**config["ranges"], **ranges}})) for ranges in (plain, rich)
    ]
    for part in ("rotated by 0 to 360", "by chance", "magnified 0.8 to 1.25", "by a spline", "(gain 1, bias -5 to 5)"):
        assert part in texts[1]
        assert part not in texts[0]
    assert "Each slice was mirrored beyond its edges and cropped" in texts[0]


def test_what_is_synthetic_is_said_to_be(card: CardRecord) -> None:
    source = {"title": "augpipe phantom", "synthetic": True}
    known = replace(told(card, source=source), record=replace(card.record, name="phantom"))
    assert "shows no real tissue" in card_text(known)
    assert "synthetic" in kaggle_metadata(known)["subtitle"]
    assert "--source" not in card_text(known)
    assert "--source" in card_text(card)
    assert "--images STACK" in card_text(told(card, inputs=card.facts["inputs"] * 2))


def test_nothing_in_it_is_markup_of_others(card: CardRecord) -> None:
    text = card_text(told(card, source={"title": "a|b <script> [x](y) *z*", "citation": "`rm`"}))
    for raw in ("a|b", "<script>", "[x](y)", "*z*", "`rm`"):
        assert raw not in text


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


def test_the_same_dataset_has_the_same_card(carded: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(carded, tmp_path / "elsewhere"))
    write_card(copy, gap=1, allow_unknown=True, jobs=2)
    assert digests(copy) == digests(carded)


def test_a_card_can_lie_anywhere(carded: Path, tmp_path: Path) -> None:
    out = tmp_path / "a" / "b"
    write_card(carded, out, gap=1, allow_unknown=True, jobs=1)
    for file in json.loads((out / "croissant.json").read_bytes())["distribution"]:
        assert file_digest(out / file["contentUrl"]) == file["sha256"]
    with pytest.raises(ConfigError, match="is the dataset itself"):
        write_card(carded, carded, gap=1)


def test_a_published_card_lies_beside_the_data(carded: Path, card: CardRecord, tmp_path: Path) -> None:
    """As publishing makes it: from a report that was made before, and for a copy of the dataset."""
    published = Path(shutil.copytree(carded, tmp_path / "published", ignore=shutil.ignore_patterns("card")))
    described = describe_dataset(read_record(carded), card.report)
    for name, data in card_files(described, url="https://example.org/set").items():
        (published / name).write_bytes(data)
    values = json.loads((published / "croissant.json").read_bytes())
    assert values["url"] == "https://example.org/set"
    for file in values["distribution"]:
        assert file["contentUrl"] == file["name"]
        assert file_digest(published / file["contentUrl"]) == file["sha256"]
    same = [name for name in CARD_FILES if name != "croissant.json"]
    assert [(published / name).read_bytes() for name in same] == [
        (carded / "card" / name).read_bytes() for name in same
    ]


def test_a_leaking_dataset_gets_a_card_that_says_so(dataset: Path, augpipe: Run) -> None:
    code, out, err = augpipe("card", dataset, "--jobs", 1, "--quiet")  # its gap of 1 is not the 3 that are asked for
    assert (code, err) == (1, "")
    assert len(out.splitlines()) == 1
    assert out.strip().startswith(("LEAKAGE", "NOT CLEAN"))
    assert out.strip().partition(":")[0] in (dataset / "card" / "README.md").read_text(encoding="utf-8")


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
    with pytest.raises(DamagedError, match="a card would describe another dataset"):
        gather_card(dataset, gap=1, jobs=1)


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
    descriptor = os.open(dataset, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(StorageError, match="another program is writing it"):
            write_folder_of_files(dataset / "card", {"README.md": b"x"} | dict.fromkeys(CARD_FILES, b"y"))
        assert digests(dataset) == before
    finally:
        os.close(descriptor)
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
