"""A build's options in a file: the same build as from flags, flags win, and nothing in the file is ignored."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_worlds import digests, names, small_stack, write_folder

from pipeline.cli.building import build
from pipeline.cli.config_file import read_config_file
from pipeline.cli.options import file_key
from pipeline.errors import ConfigError
from pipeline.source.tiff import write_stack

Run = Callable[..., Any]
SMALL = {"n": 12, "size": "40x36", "gap": 1, "test": 0.25, "shard-size": 4, "jobs": 1}


def toml(values: dict[str, Any]) -> str:
    """Return the values as TOML; JSON's texts, numbers and lists are TOML's."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items() if not isinstance(value, dict)]
    for table, inner in values.items():
        if isinstance(inner, dict):
            lines += [f"[{table}]", toml(inner)]
    return "\n".join(lines) + "\n"


def flags(values: dict[str, Any]) -> list[str]:
    """Return the values as a user types them."""
    typed: list[str] = []
    for key, value in values.items():
        if key == "folder":
            typed += [value]
        elif isinstance(value, bool):
            typed += [f"--{key}" if value else f"--no-{key}"]
        elif key in ("images", "labels"):
            typed += [part for path in value for part in (f"--{key}", path)]
        elif isinstance(value, list):
            typed += [f"--{key}", *map(str, value)]
        else:
            typed += [f"--{key}", str(value)]
    return typed


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a source `small`, and a working directory beside it."""
    images, labels = small_stack()
    write_folder(tmp_path / "here" / "small", images, labels)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "here"


def read(place: Path, text: str) -> Any:
    (place / "set.toml").write_text(text, encoding="utf-8")
    return read_config_file(place / "set.toml", build)


def fingerprint(augpipe: Run, *arguments: object) -> str:
    code, out, err = augpipe("build", *arguments, "--dry-run", "--json", "-")
    assert code == 0, err
    return str(json.loads(out)["fingerprint"])


def refusal(augpipe: Run, place: Path, text: str, *arguments: object) -> str:
    """Return the one line that a build from the file ends with, which leaves nothing behind."""
    (place / "set.toml").write_text(text, encoding="utf-8")
    before = names(place.parent)
    code, out, err = augpipe("build", "--config", place / "set.toml", *arguments)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert names(place.parent) == before
    return str(err)


# The same build


def test_a_file_and_flags_make_the_same_bytes(place: Path, augpipe: Run) -> None:
    values = {**SMALL, "folder": "small", "seed": 3, "flip": True, "zoom": [0.9, 1.1], "preset": "strong"}
    (place / "set.toml").write_text(toml({**values, "out": "from-file"}))
    assert augpipe("build", "--config", place / "set.toml").code == 0
    typed = flags({**values, "folder": str(place / "small"), "out": str(place / "from-flags")})
    assert augpipe("build", *typed).code == 0
    assert digests(place / "from-file") == digests(place / "from-flags")
    assert "dataset.json" in digests(place / "from-file")


def test_paths_are_relative_to_the_file(place: Path, augpipe: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command must give the same build from any working directory."""
    (place / "set.toml").write_text(toml({**SMALL, "folder": "small", "out": "sets/d"}))
    runs = {place.parent / "work": "../here/set.toml", place: "set.toml", place / "small": "../set.toml"}
    closing = []
    for work, config in runs.items():
        monkeypatch.chdir(work)
        closing.append(augpipe("build", "--config", config).out.splitlines()[-1].partition(":")[0])
    assert closing == ["built", "reused", "reused"]
    assert (place / "sets" / "d" / "dataset.json").is_file()


# Every option that decides a byte, with two values that make two datasets
OPTIONS: dict[str, tuple[Any, Any]] = {
    "n": (13, 14),
    "seed": (7, 8),
    "size": ("36x40", 38),
    "shard-size": (5, 6),
    "split": ("random", "block"),
    "test": (0.5, 0.1),
    "val": (0.25, 0),
    "gap": (0, 2),
    "preset": ("original", "strong"),
    "rotate": (False, True),
    "flip": (True, False),
    "zoom": ([0.5, 2], [1, 3]),
    "shift": (4, 5.5),
    "focus": ("object", "uniform"),
    "min-foreground": (0.01, 0),
    "gain": ([0.5, 1.5], [1, 3]),
    "bias": ([-3, 3.5], [1, 3]),
    "defects": ([1, 5.5], [1, 3]),
    "shading": ([0, 0.3], [0.2, 0.4]),
    "blur": ([0.5, 1.5], [1, 3]),
    "noise": ([0, 1.5], [1, 3]),
    "low-resolution": ([0.5, 1], [0.7, 0.8]),
    "contrast": ([0.5, 1.5], [1, 3]),
    "gamma": ([0.5, 1.5], [1, 3]),
    "grid": (4, 5),
    "sigma": (5, 0),
    "extent": ("padded", "window"),
    "engine": ("staged", "fused"),
    "weights": ("unet2015", "none"),
    "margin": ("ignore", "shared"),
    "plain-test": (True, False),
    "plain-val": (True, False),
    "context": (1, 0),
    "name": ("other", "third"),
    "independent": (True, False),
    "label-kind": ("classes", "instances"),
    "scale-gray": ([0.5, 99], [1, 99.8]),
}
OF_LARGE_SLICES = {"regions", "region-gap"}  # see test_regions.py
OF_LAYOUTS = {"ctc", "silver"}
NO_BYTES = {"jobs", "overwrite", "dry-run", "out", "channels-are-slices"}
TRIED_BELOW = {"folder", "images", "labels", "split-file", "folds", "fold", "groups", "group-by", "gray-bits"}
TRIED_BELOW |= {"probability"}
TRIED_BELOW |= {"focus-share", "ignore", "classes", "label-colors", "skip-unlabelled", "pixel-size", "pixel-size-of"}
OF_OTHER_SOURCES = {"per-channel", "channel", "join"}  # see test_channels.py and test_channel_options.py
OF_COLOURS = {"color", "stain"}  # see test_colours_and_faults.py


def test_every_option_is_tried() -> None:
    keys = {file_key(parameter) for parameter in build.params} - {"config", "json", "quiet"}
    assert keys == {*OPTIONS, *NO_BYTES, *TRIED_BELOW, *OF_OTHER_SOURCES, *OF_COLOURS, *OF_LARGE_SLICES, *OF_LAYOUTS}


@pytest.mark.parametrize("key", OPTIONS)
def test_a_flag_wins_over_the_file_and_the_file_over_the_default(place: Path, augpipe: Run, key: str) -> None:
    one, two = OPTIONS[key]
    small = {"folder": str(place / "small"), "n": 12, "size": "40x36", "val": 0.2, "gap": 1}
    if key == "independent":
        del small["gap"]
    as_flag = [fingerprint(augpipe, *flags({**small, key: value})) for value in (one, two)]
    config = ("--config", place / "set.toml")
    (place / "set.toml").write_text(toml({**small, "folder": "small", key: one}))
    assert as_flag[0] != as_flag[1]
    assert fingerprint(augpipe, *config) == as_flag[0]
    assert fingerprint(augpipe, *config, *flags({key: two})) == as_flag[1]
    assert fingerprint(augpipe, *flags({key: two}), *config) == as_flag[1]


def test_shares_of_samples_are_given_by_name(place: Path, augpipe: Run) -> None:
    noisy = ["--noise", "1", "2"]
    one, two = (
        fingerprint(augpipe, place / "small", *noisy, *(("--probability", f"noise={share}") if share else ()))
        for share in (0.5, None)
    )
    (place / "set.toml").write_text('folder = "small"\nnoise = [1, 2]\nprobability = ["noise = 0.5"]\n')
    assert fingerprint(augpipe, "--config", place / "set.toml") == one
    assert fingerprint(augpipe, "--config", place / "set.toml", "--probability", "noise=1") == two
    for share, words in {
        "noise": "expected NAME=FRACTION such as noise=0.2, got 'noise'",
        "noise=x": "expected NAME=FRACTION",
        "noise=2": "probability: noise: expected a fraction above 0, up to 1, got 2",
        "noise=0.1 noise=0.2": "probability: expected each name once, got noise, noise",
        "blur=0.1": "probability: expected what is on (rotate, noise), got 'blur'",
    }.items():
        shares = (part for each in share.split() for part in ("--probability", each))
        code, out, err = augpipe("build", place / "small", *noisy, *shares)
        assert (code, out, words in err) == (2, "", True)
    refused = augpipe("build", place / "small", *noisy, "--engine", "staged")
    assert (refused.code, "noise: the staged engine knows gain and bias alone" in refused.err) == (2, True)


def test_options_that_decide_no_byte_work_from_a_file(place: Path, augpipe: Run) -> None:
    text = toml({**SMALL, "folder": "small", "out": "d", "jobs": 2})
    (place / "set.toml").write_text(f"{text}dry-run = true\n")
    assert augpipe("build", "--config", place / "set.toml").out.splitlines()[-1].startswith("would build")
    (place / "set.toml").write_text(text)
    assert augpipe("build", "--config", place / "set.toml").out.splitlines()[-1] == "built"
    (place / "set.toml").write_text(f"{text}seed = 5\n")
    assert augpipe("build", "--config", place / "set.toml").code == 2
    (place / "set.toml").write_text(f"{text}seed = 5\noverwrite = true\n")
    assert augpipe("build", "--config", place / "set.toml").out.splitlines()[-1] == "built"
    (place / "set.toml").write_text(f"{text}jobs = 0\n".replace("jobs = 2\n", ""))
    assert "jobs: expected 1 or more" in refusal(augpipe, place, (place / "set.toml").read_text())


options = st.fixed_dictionaries(
    {},
    optional={
        "n": st.integers(1, 10**9),
        "seed": st.integers(0, 2**128 - 1),
        "test": st.floats(0, 0.9),
        "shift": st.floats(0, 1e6) | st.integers(0, 10**6),
        "zoom": st.lists(st.floats(0.1, 9), min_size=2, max_size=2),
        "bias": st.lists(st.integers(-(2**20), 2**20), min_size=2, max_size=2),
        "rotate": st.booleans(),
        "flip": st.booleans(),
        "preset": st.sampled_from(["unet2015", "original", "strong"]),
        "size": st.from_regex(r"[1-9][0-9]{0,3}(x[1-9][0-9]{0,3})?", fullmatch=True),
        "extent": st.sampled_from(["window", "padded"]),
        "images": st.lists(st.sampled_from(["/a.tif", "/b c.tif", "/d"]), min_size=1, max_size=3),
        "name": st.from_regex(r"[A-Za-z][a-z0-9.-]{0,9}", fullmatch=True),
    },
)


@given(options)
def test_click_sees_the_same_values(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]) -> None:
    """For any options at all: numbers of any size and form, paths, pairs."""
    file = tmp_path_factory.mktemp("any") / "set.toml"
    file.write_text(toml(values))
    from_file = build.make_context("build", ["--config", str(file)]).params
    from_flags = build.make_context("build", flags(values)).params
    assert {**from_file, "config": None} == from_flags


@pytest.mark.parametrize(("size", "same"), [(40, "40"), ("40", "40"), ("40x36", "40x36"), ([40, 36], "40x36")])
def test_a_size_has_three_forms(place: Path, size: Any, same: str) -> None:
    assert read(place, toml({"size": size})).options["size"] == same


def test_one_path_needs_no_list(place: Path) -> None:
    one, several = read(place, toml({"images": "a"})), read(place, toml({"images": ["a", "/b"]}))
    assert one.options["images"] == [place / "a"]
    assert several.options["images"] == [place / "a", Path("/b")]


def test_a_byte_order_mark_and_windows_line_ends_are_fine(place: Path) -> None:
    assert read(place, "\ufeffn = 5\r\nseed = 2\r\n").options == {"n": 5, "seed": 2}


def test_an_empty_file_says_nothing(place: Path) -> None:
    file = read(place, "# nothing yet\n")
    assert (file.options, file.facts) == ({}, {})


# Mistakes in the file


# What each key is held to, in words, and values in TOML, separated by ;, that it does not take
REFUSED_VALUES = {
    ("n", "a whole number"): '3.7; 3.0; true; "300"; [300]; 1979-05-27',
    ("seed", "a whole number"): "false",
    ("fold", "a whole number"): "1.0",
    ("test", "a number"): 'true; "0.2"',
    ("sigma", "a number"): str(10**400),
    ("rotate", "true or false"): "0",
    ("flip", "true or false"): '"yes"',
    ("overwrite", "true or false"): "1",
    ("independent", "true or false"): "[]",
    ("zoom", "two numbers"): '1.5; [1.5]; [1, 2, 3]; [1, "2"]; [false, true]',
    ("size", "a side"): f'"40x"; 40.0; -40; true; [40]; [40, 36, 3]; ["40", "36"]; {"9" * 4000}',
    ("split", 'one of "block", "random", "kfold", "stack", "explicit"'): '"blocks"; 5; { test = 0.2 }',
    ("preset", 'one of "unet2015", "original", "strong"'): '"Strong"',
    ("images", "a path, or a list of them"): r'""; []; ["a", 3]; "a\u0000"',
    ("out", "a path"): '["d"]',
    ("folder", "a path"): "3",
    ("name", "text"): "3",
    ("source", "a table [source]"): '"data"; []',
}


def mistake(place: Path, text: str) -> str:
    """Return what is wrong with a file, after its path."""
    with pytest.raises(ConfigError) as caught:
        read(place, text)
    path, found, message = str(caught.value).partition(f"{place / 'set.toml'}: ")
    assert (path, bool(found)) == ("", True)
    assert "\n" not in message
    assert len(message) < 500
    return message


@pytest.mark.parametrize(("key", "expected"), REFUSED_VALUES)
def test_a_value_of_another_type_is_refused_by_its_key(place: Path, key: str, expected: str) -> None:
    for value in REFUSED_VALUES[key, expected].split("; "):
        message = mistake(place, f"{key} = {value}\n")
        assert message.startswith(f"{key}: expected {expected}")
        if value.isalnum() or value[0] == '"':
            assert f"got {value[:10]}" in message


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("size-shard = 3", "'size-shard'"),
        ("shard_size = 3", "'shard_size'; did you mean shard-size?"),
        ("split_file = 3", "'split_file'; did you mean split-file?"),
        ("Seed = 3", "'Seed'; did you mean seed?"),
        ("--seed = 3", "'--seed'; did you mean seed?"),
        ("no-rotate = true", "'no-rotate'; did you mean rotate?"),
        ("microns = 3", "'microns'; expected one of"),
        ("[sources]\ntitle = 3", "'sources'; did you mean source?"),
        ('config = "other.toml"', "config: "),
        ("help = true", "help: "),
        ('json = "-"', "json: "),
        ("quiet = true", "quiet: "),
        ('[source]\nlicense = "MIT"', "[source]: there is no key 'license'; did you mean licence?"),
        ('[source]\nnames = "MIT"', "[source]: there is no key 'names'; did you mean name?"),
        ("[source]\nname = 3", "[source]: name: expected text, got 3"),
        ("[source]\nsynthetic = false", "[source]: there is no key 'synthetic'"),
        ("[source]\ntitle = 3", "[source]: title: "),
        ('[source]\ntitle = "a\\nb"', "[source]: title: "),
        ("[source]\nvoxel_size_nm = [50, 4]", "[source]: voxel_size_nm: "),
        ('[source]\nurl = "example.org"', "[source]: url: "),
        ('name = "a"\n[source]\nname = "b"', "name: it is given twice, in [source] too"),
    ],
)
def test_a_key_that_cannot_be_there_is_refused(place: Path, text: str, named: str) -> None:
    assert named in mistake(place, f"{text}\n")


@pytest.mark.parametrize("text", ["n = 3.7", "Seed = 3", "[source]\ntitle = 3"])
def test_a_mistake_in_a_file_is_one_line_and_leaves_nothing(place: Path, augpipe: Run, text: str) -> None:
    told = refusal(augpipe, place, f"{text}\n", place / "small", "--out", "d")
    assert told == f"augpipe: {place / 'set.toml'}: {mistake(place, text)}\n"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (b"n = 300\nsplit = block\n", ", line 2, column 9: not TOML (Invalid value)"),
        (b"n = 300\n\nseed\n", ", line 3, column 5: not TOML (Expected '=' after a key"),
        (b"n = 300\nn = 301\n", ", line 2, column 8: not TOML (Cannot overwrite a value)"),
        (b'n = 300\n\nname = "x', ", line 3: not TOML (Unterminated string)"),
        (b"[source\n", ", line 1"),
        (b"n = 300\nname = '\xff'\n", ", line 2: expected TOML in UTF-8, got the byte 0xff"),
        (b"\xff\xfe", ", line 1: expected TOML in UTF-8"),
        (b"II*\x00\x08\x00", ", line 1"),
        (b"n = " + b"9" * 5000, ": not TOML that can be read ("),
        (b"n = " + b"[" * 100_000, ""),
    ],
)
def test_what_is_no_toml_is_told_with_its_line(place: Path, augpipe: Run, text: bytes, where: str) -> None:
    (place / "set.toml").write_bytes(text)
    code, out, err = augpipe("build", "--config", place / "set.toml")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert err.startswith(f"augpipe: {place / 'set.toml'}{where}")
    assert len(err) < 500


@pytest.mark.parametrize(("config", "words"), [("none.toml", "No such file"), ("small", "Is a directory")])
def test_a_file_that_cannot_be_read_is_told(place: Path, augpipe: Run, config: str, words: str) -> None:
    code, _, err = augpipe("build", "--config", place / config)
    assert code == 2
    assert f"{place / config}: expected a TOML file with options, but it cannot be read ({words}" in err


def test_the_last_of_two_files_counts(place: Path, augpipe: Run) -> None:
    """As with every other option that is given twice."""
    (place / "a.toml").write_text("n = 12\nsize = 38\n")
    (place / "b.toml").write_text("n = 13\n")
    folder = place / "small"
    both = fingerprint(augpipe, folder, "--config", place / "a.toml", "--config", place / "b.toml")
    assert both == fingerprint(augpipe, folder, "--n", 13)


# Two ways to say where the slices are


def write_pair(place: Path, name: str, *, shift: int = 0) -> None:
    images, labels = (np.roll(stack, shift, axis=1) for stack in small_stack())
    write_stack(place / f"{name}.tif", images)
    write_stack(place / f"{name}-labels.tif", labels)


def test_a_source_on_the_command_line_makes_that_of_the_file_void(place: Path, augpipe: Run) -> None:
    write_pair(place, "a")
    write_pair(place, "b", shift=5)
    options = {"n": 12, "size": "40x36", "gap": 1}
    pair = ("--images", place / "a.tif", "--labels", place / "a-labels.tif")
    (place / "files.toml").write_text(toml({**options, "images": "b.tif", "labels": "b-labels.tif"}))
    (place / "folder.toml").write_text(toml({**options, "folder": "small"}))
    by_folder, by_pair = (fingerprint(augpipe, *source, *flags(options)) for source in ((place / "small",), pair))
    assert fingerprint(augpipe, "--config", place / "files.toml", place / "small") == by_folder
    assert fingerprint(augpipe, "--config", place / "folder.toml", *pair) == by_pair
    assert fingerprint(augpipe, "--config", place / "files.toml", *pair) == by_pair
    assert fingerprint(augpipe, "--config", place / "files.toml") not in (by_folder, by_pair)
    assert fingerprint(augpipe, "--config", place / "folder.toml") == by_folder


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('folder = "small"\nimages = "a"\nlabels = "b"', "SOURCE"),
        ('folder = "small"\nimages = "a"', "SOURCE"),
        ('images = "a"', "--labels"),
        ('labels = "a"', "--images"),
        ('images = ["a", "b"]\nlabels = ["c"]', "2 --images and 1 --labels"),
    ],
)
def test_two_sources_or_half_a_source_in_a_file_are_refused(place: Path, augpipe: Run, text: str, named: str) -> None:
    err = refusal(augpipe, place, text)
    assert f"{place / 'set.toml'}: " in err
    assert named in err


# Two strategies


PICTURE = '["TTTTTTTT.EEE"]'


@pytest.mark.parametrize(
    ("text", "typed", "same"),
    [
        ('split = "kfold"\nfolds = 4\nfold = 1', ["--split", "block"], []),
        ('split = "kfold"\nfolds = 4\nfold = 1', ["--fold", "2"], ["--split", "kfold", "--folds", "4", "--fold", "2"]),
        ("test = 0.5", ["--split", "kfold"], ["--split", "kfold"]),
        ("test = 0.5\nval = 0.1", ["--split-file", "SPLIT"], ["--split-file", "SPLIT"]),
        ('split-file = "SPLIT"', ["--split", "random"], ["--split", "random"]),
        ('split-file = "SPLIT"', ["--split", "explicit"], ["--split-file", "SPLIT"]),
        ('split-file = "SPLIT"\nsplit = "explicit"', [], ["--split-file", "SPLIT"]),
        ('split = "kfold"\nfolds = 4', ["--split-file", "SPLIT"], ["--split-file", "SPLIT"]),
        ("gap = 2", ["--independent"], ["--independent"]),
        ("gap = 2\nindependent = true", ["--no-independent"], ["--gap", "2"]),
    ],
)
def test_a_strategy_on_the_command_line_makes_void_what_does_not_fit_it(
    place: Path, augpipe: Run, text: str, typed: list[str], same: list[str]
) -> None:
    (place / "split.json").write_text(PICTURE)
    gap = "" if "gap" in text or "explicit" in text else "gap = 1"
    (place / "set.toml").write_text(
        f'folder = "small"\nn = 12\nsize = "40x36"\n{gap}\n{text}\n'.replace("SPLIT", "split.json")
    )

    def paths(arguments: list[str]) -> list[str]:
        return [str(place / "split.json") if argument == "SPLIT" else argument for argument in arguments]

    own_gap = [] if {"--gap", "--independent", "--split-file"} & set(same) else ["--gap", "1"]
    wanted = fingerprint(augpipe, place / "small", "--n", 12, "--size", "40x36", *own_gap, *paths(same))
    assert fingerprint(augpipe, "--config", place / "set.toml", *paths(typed)) == wanted


@pytest.mark.parametrize(
    ("text", "typed", "where"),
    [
        ('split = "block"\nfolds = 4', [], "set.toml: folds: "),
        ("fold = 0", [], "set.toml: fold: "),
        ('split = "kfold"\ntest = 0.2', [], "set.toml: test: "),
        ('split = "kfold"', ["--test", "0.2"], "augpipe: --test: "),
        ('split = "explicit"', [], "set.toml: split: "),
        ('split = "random"\nsplit-file = "s.json"', [], "set.toml: split-file: "),
        ('split-file = "s.json"\nval = 0.1', [], "set.toml: val: "),
        ('split-file = "s.json"\ngap = 1', [], "set.toml: gap: "),
        ('split-file = "s.json"', ["--gap", "1"], "augpipe: --gap: "),
        ("independent = true\ngap = 3", [], "set.toml: gap: "),
        ("independent = true", ["--gap", "3"], "augpipe: --gap: "),
    ],
)
def test_what_would_be_ignored_is_refused_where_it_was_set(
    place: Path, augpipe: Run, text: str, typed: list[str], where: str
) -> None:
    assert where in refusal(augpipe, place, f'folder = "small"\n{text}\n', *typed, "--out", "d")


# What a file says about the source


ABOUT = '[source]\ntitle = "A larva"\nlicence = "CC0"\nvoxel_size_nm = [50, 4, 4]\n'


def test_facts_and_name_are_recorded(place: Path, augpipe: Run) -> None:
    (place / "set.toml").write_text(toml({**SMALL, "folder": "small", "out": "d"}) + ABOUT + 'name = "larva"\n')
    assert augpipe("build", "--config", place / "set.toml").code == 0
    record = json.loads((place / "d" / "dataset.json").read_bytes())
    assert record["name"] == "larva"
    assert record["source"] == {"title": "A larva", "licence": "CC0", "voxel_size_nm": [50.0, 4.0, 4.0]}


def test_a_name_on_the_command_line_wins(place: Path, augpipe: Run) -> None:
    (place / "set.toml").write_text('folder = "small"\nn = 12\nsize = 40\ngap = 1\n[source]\nname = "larva"\n')
    for typed, name in (((), "larva"), (("--name", "fly"), "fly")):
        out = augpipe("build", "--config", place / "set.toml", *typed, "--dry-run").out
        assert f"datasets/{name}-n12-seed0" in out


def test_facts_beside_another_source_are_recorded_and_told(place: Path, augpipe: Run) -> None:
    """Somebody's licence must not end up with somebody else's pixels unnoticed."""
    (place / "set.toml").write_text(toml({"n": 12, "size": 40, "gap": 1, "folder": "none"}) + ABOUT)
    told = "its facts about the source are recorded, though the command line names another source"
    other = augpipe("build", place / "small", "--config", place / "set.toml", "--dry-run")
    assert other.code == 0
    assert told in other.out
    (place / "set.toml").write_text(toml({"n": 12, "size": 40, "gap": 1, "folder": "small"}) + ABOUT)
    (place / "none.toml").write_text(toml({"n": 12, "size": 40, "gap": 1}) + ABOUT)
    for arguments in (("--config", place / "set.toml"), ("--config", place / "none.toml", place / "small")):
        own = augpipe("build", *arguments, "--dry-run")
        assert own.code == 0
        assert f"config: {arguments[1]}\n" in own.out
        assert told not in own.out


def test_the_phantom_has_facts_of_its_own(place: Path, augpipe: Run) -> None:
    (place / "set.toml").write_text("n = 4\nsize = 40\n" + ABOUT)
    code, out, _ = augpipe("build", "--config", place / "set.toml", "--dry-run")
    assert code == 0
    assert "facts: the built-in phantom has its own; those in [source] of the config file are not used" in out
    assert fingerprint(augpipe, "--config", place / "set.toml") == fingerprint(augpipe, "--n", 4, "--size", 40)


def test_a_file_for_another_command_would_be_read_by_its_options(place: Path) -> None:
    """The reader asks the command what it takes, so that no list of keys can fall behind the options."""
    command = click.Command("one", params=[click.Option(["--only"], type=int)])
    (place / "set.toml").write_text("only = 3\n")
    assert read_config_file(place / "set.toml", command).options == {"only": 3}
    (place / "set.toml").write_text("n = 3\n")
    with pytest.raises(ConfigError, match="there is no key 'n'"):
        read_config_file(place / "set.toml", command)


def test_regions_are_cut_as_by_flags(place: Path, augpipe: Run) -> None:
    values = {**SMALL, "size": "20x20", "regions": True, "region-gap": 3, "folder": "small"}
    (place / "set.toml").write_text(toml(values))
    from_file = fingerprint(augpipe, "--config", place / "set.toml")
    assert from_file == fingerprint(augpipe, *flags({**values, "folder": str(place / "small")}))
    other_gap = flags({**values, "folder": str(place / "small"), "region-gap": 2})
    assert len({from_file, fingerprint(augpipe, *other_gap)}) == 2
