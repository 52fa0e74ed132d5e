"""Pixels whose label means nothing: they become the one value for that, and count for nothing else."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from small_worlds import small_config, small_stack, write_folder

import pipeline.source.scanning
from augment.weight_map import round_weights, unet_weight_map
from pipeline.audit.auditing import audit_dataset
from pipeline.build.builder import build_dataset
from pipeline.build.rebuild import rebuild_dataset
from pipeline.errors import ConfigError, SourceError
from pipeline.shards.digest import array_digest
from pipeline.source.combining import combine, make_source
from pipeline.source.labels import LabelOptions
from pipeline.source.readers import read_folder
from pipeline.source.stacks import RawStack
from pipeline.verify.verification import verify_dataset

IMAGES = np.arange(2 * 4 * 5, dtype=np.uint8).reshape(2, 4, 5)
ROW = [0, 1, 2, 255, 7]


def rows_of(*rows: list[int], dtype: str = "int32") -> NDArray[Any]:
    """Return labels of IMAGES whose first slice begins with these rows; all else is 0."""
    labels = np.zeros(IMAGES.shape, dtype)
    for place, row in enumerate(rows):
        labels[0, place] = row
    return labels


def first_row(labels: NDArray[Any], kind: str = "auto", *ignore: int) -> tuple[list[int], Any]:
    source = make_source(IMAGES, labels, name="x", label_kind=kind, label_options=LabelOptions(ignore=ignore))
    return source.stacks[0].labels[0][0].tolist(), source


@pytest.mark.parametrize(
    ("row", "ignore", "kind", "stored", "values"),
    [
        ([0, 1, 2, -1, 0], (-1,), "classes", [0, 1, 2, 255, 0], (0, 1, 2)),
        ([0, 1, 255, 255, 0], (255,), "binary", [0, 1, 255, 255, 0], (0, 1)),
        ([3, 1, 0, 0, 0], (0,), "binary", [1, 0, 255, 255, 255], (1, 3)),
        ([0, 9, -2, -1, 4], (-1, -2), "classes", [0, 2, 255, 255, 1], (0, 4, 9)),
        ([0, 5, 6, 7, 8], (8,), "classes", [0, 1, 2, 3, 255], (0, 5, 6, 7)),
        ([0, 5, 6, 70000, 8], (70000,), "classes", [0, 1, 2, 255, 3], (0, 5, 6, 8)),
    ],
)
@pytest.mark.parametrize("max_held_bytes", [1 << 27, 10])
def test_ignored_values_become_the_highest_and_no_class(
    monkeypatch: pytest.MonkeyPatch,
    max_held_bytes: int,
    row: list[int],
    ignore: tuple[int, ...],
    kind: str,
    stored: list[int],
    values: tuple[int, ...],
) -> None:
    monkeypatch.setattr(pipeline.source.scanning, "_MAX_HELD_BYTES", max_held_bytes)
    labels = rows_of(row)
    found, source = first_row(labels, "auto", *ignore)
    assert (found, source.coding.kind, source.coding.values) == (stored, kind, values)
    identity = source.stacks[0].identity.labels
    assert (identity.ignored, identity.sha256) == (tuple(sorted(ignore)), array_digest(labels))


@pytest.mark.parametrize(
    ("dtype", "void"), [("int32", -1), ("float32", -1), ("uint64", 2**64 - 1), ("uint32", 2**32 - 1)]
)
def test_ids_are_kept_beside_what_is_ignored(dtype: str, void: int) -> None:
    labels = rows_of([0, 1, 300, 0, 65534], dtype=dtype)
    labels[0, 0, 3] = void
    found, source = first_row(labels, "instances", void)
    assert found == [0, 1, 300, 65535, 65534]
    assert (source.coding.dtype, source.stacks[0].renumbered) == (np.uint16, None)


def test_what_is_not_there_is_said_and_not_recorded() -> None:
    _, source = first_row(rows_of([0, 1, 2, 255, 0]), "classes", 254, 255)
    assert source.coding.ignored == (255,)
    assert source.notes[0] == "labels: labels: no pixel has 254, which was to be ignored"
    assert source.notes[1] == "labels: labels: 255 is ignored, 2.5% of the pixels"
    plain = make_source(IMAGES, rows_of([0, 1, 0, 0, 0]), name="x")
    assert first_row(rows_of([0, 1, 0, 0, 0]), "auto", 254)[1].inputs == plain.inputs


def test_255_classes_and_one_value_that_means_nothing_fill_a_byte() -> None:
    images = np.zeros((1, 16, 16), np.uint8)
    labels = np.arange(256, dtype=np.int16).reshape(images.shape)
    labels[labels == 17] = -1
    options = LabelOptions(ignore=(-1,))
    (stack,) = make_source(images, labels, name="x", label_kind="classes", label_options=options).stacks
    assert sorted(stack.labels[:].ravel()) == list(range(256))
    more = np.concatenate((labels, np.full_like(labels, 300)), axis=1)
    with pytest.raises(
        ConfigError, match=r"expected at most 255 classes, .* 256 label values .* beside -1, which --ignore"
    ):
        make_source(np.zeros(more.shape, np.uint8), more, name="x", label_kind="classes", label_options=options)


def test_nothing_left_is_refused_and_so_are_others_below_0() -> None:
    with pytest.raises(SourceError, match="found 0 beside 1, which --ignore leaves out; nothing is annotated"):
        first_row(rows_of([0, 1, 1, 1, 0]), "auto", 1)
    with pytest.raises(SourceError, match=r"found -2 in 1 pixels of 1 of 2 slices; .* say --ignore -2,"):
        first_row(rows_of([0, 1, -1, -2, 0]), "auto", -1)


def test_stacks_share_what_is_ignored_and_a_slice_of_nothing_else_is_unlabelled() -> None:
    one, other = rows_of([0, 1, 2, -1, 0]), rows_of([0, 1, 2, 1, 0])
    one[1] = -1
    other[1, 0, 0] = 2
    options = LabelOptions(ignore=(-1,))
    stacks = combine([RawStack(IMAGES, one), RawStack(IMAGES + 1, other)], name="x", label_options=options).stacks
    assert [stack.identity.labels.ignored for stack in stacks] == [(-1,), (-1,)]
    assert [stack.unlabelled for stack in stacks] == [{1}, set()]
    assert (stacks[0].labels[1] == 255).all()


@pytest.mark.parametrize("kind", ["binary", "classes", "instances"])
def test_samples_with_ignored_pixels_are_scipy_s(tmp_path: Path, kind: str) -> None:
    """Image, label and weights of every sample by the formula of manifests/README.md, from what the files hold."""
    images, cells = small_stack()
    labels = (cells > 0).astype(np.int16)
    if kind != "binary":
        labels *= 1 + (np.arange(labels.size).reshape(labels.shape) // 40 % 3).astype(np.int16)
    labels[:, 20:50, 30:34] = -1
    labels[3] = -1
    folder = write_folder(tmp_path / "small", images, labels)
    source = read_folder(folder, label_kind=kind, label_options=LabelOptions(ignore=(-1,)))
    result = build_dataset(source, small_config(weights="unet2015", gap=3), out=tmp_path / "d", jobs=1)
    dataset = result.dataset
    top = int(np.iinfo(dataset.record.label_dtype).max)
    assert (dataset.record.schema, dataset.record.arrays.ignore) == ("augpipe/dataset/2", top)
    stored = np.where(labels < 0, top, labels.astype(np.int32))
    n_ignored = 0
    for split in dataset.splits:
        samples = zip(dataset[split].manifest, dataset[split], dataset[split].weights, strict=True)
        for row, sample, stored_weights in samples:
            image, label = by_scipy(images[row.z], stored[row.z], row.recipe.to_json())
            assert np.mean(sample.label == label) > 0.999
            assert np.abs(sample.image - np.clip(np.rint(image), 0, 255)).max() <= 1
            weights = unet_weight_map(sample.label, instances=kind == "instances", ignore=top)
            assert np.array_equal(stored_weights, round_weights(weights))
            assert not stored_weights[sample.label == top].any()
            n_ignored += np.count_nonzero(sample.label == top)
    assert n_ignored > 1000
    assert verify_dataset(tmp_path / "d", replay=True).findings == ()
    assert audit_dataset(tmp_path / "d").exit_code == 0
    rebuilt = rebuild_dataset(tmp_path / "d", tmp_path / "e", source_folder=folder, jobs=1)
    assert rebuilt.dataset.digest == dataset.digest


def by_scipy(image: NDArray[Any], label: NDArray[Any], recipe: dict[str, Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    (h, w), (height, width) = recipe["window"], image.shape
    points = len(recipe["grid_px"][0])
    p = np.stack(np.meshgrid(np.arange(h), np.arange(w), indexing="ij")).astype(float)
    sizes = zip(p, (h, w), recipe["extent_px"], strict=True)
    at = np.stack([(axis + (extent - n) / 2) * (points - 1) / (extent - 1) for axis, n, extent in sizes])
    u = p - np.array([(h - 1) / 2, (w - 1) / 2])[:, None, None]
    v = u + np.stack([map_coordinates(np.array(axis), at, order=3, mode="mirror") for axis in recipe["grid_px"]])
    centre = np.array([(height - 1) / 2, (width - 1) / 2]) + recipe["shift_px"]
    q = np.einsum("ij,jyx->iyx", np.array(recipe["matrix"]), v) + centre[:, None, None]
    gray = map_coordinates(image.astype(float), q, order=3, mode="reflect") * recipe["gain"] + recipe["bias"]
    return gray, map_coordinates(label, q, order=0, mode="reflect")


@pytest.mark.parametrize("margin", ["own", "ignore"])
@pytest.mark.parametrize(("kind", "highest"), [("instances", 65535), ("classes", 255)])
def test_the_value_for_nothing_is_never_one_of_a_class_or_object(
    tmp_path: Path, kind: str, highest: int, margin: str
) -> None:
    """Where a slice goes on as its mirror image, labels may say nothing, and that value must be free."""
    images, _ = small_stack()
    labels = np.resize(np.arange(256 if kind == "classes" else 40, dtype=np.uint16), images.shape)
    labels[labels == 39] = highest if kind == "instances" else 39
    source = make_source(images, labels, name="x", label_kind=kind)
    assert source.coding.full == (kind == "instances")
    with pytest.raises(
        ConfigError, match=f"margin {margin}: (it numbers|it needs the id {highest} for itself|256 classes leave no)"
    ):
        build_dataset(source, small_config(margin=margin), out=tmp_path / "d", jobs=1)
    assert not make_source(images, np.minimum(labels, highest - 1), name="x", label_kind=kind).coding.full
