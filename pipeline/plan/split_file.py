"""Split files: which slice is in which split, from our own JSON, from a dataset, or from nnU-Net's splits_final.json.

nnU-Net's form: a list of folds, each {"train": [case, ...], "val": [case, ...]}, where a case is a file's name
without its ending and without the channel's number (Isensee et al. 2021; nnU-Net's documentation, "manual data
splits").

Files may also be named in a form of ours, {"train": [file, ...], "test": [file, ...]}: `augpipe audit --write-split`
writes it, with a list of what it moved.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, advise
from pipeline.plan.case_names import case_names
from pipeline.plan.named_files import NamedFiles, files_of
from pipeline.plan.pickles import refuse_pickle
from pipeline.plan.split import SPLITS
from pipeline.shards.config import SPLIT_LETTERS
from pipeline.shards.digest import parse_json
from pipeline.source.stacks import Source

_MAX_BYTES = 1 << 28
_UNUSED = "unused"
MOVED = "moved"  # beside the splits in a file that an audit has written
_LETTER_OF = {split or _UNUSED: letter for letter, split in SPLIT_LETTERS.items()}


def read_split_file(path: Path, source: Source, *, fold: int = 0) -> tuple[str, ...]:
    """Return the picture of a split, as `BuildConfig` takes it: one text a stack, one letter a slice.

    Slices that the file does not name are in no split.

    Args:
        path: a JSON file: `["TTTT...EE"]`, one text a stack; `{"train": [0, 1], "test": [5]}` for one stack or
            `{"train": [{"stack": 0, "z": [0, 1]}], ...}` for several; a dataset.json; nnU-Net's splits_final.json,
            whose cases are slices where every slice is a file, and whole stacks where every stack is one; or files in
            the place of numbers, with or without their folders and endings.
        source: the stacks.
        fold: which fold of nnU-Net's to take, counted from 0; 0 for the other forms, which have none.

    Raises:
        ConfigError: the file cannot be read, names what is not there, or puts a slice into two splits.
    """
    values = _read(path)
    if fold and not (isinstance(values, list) and values and isinstance(values[0], dict)):
        raise ConfigError(f"fold: {path} has no folds, only nnU-Net's splits_final.json has; leave out --fold {fold}")
    if isinstance(values, list) and values and all(isinstance(value, str) for value in values):
        return tuple(values)
    owners = [["."] * len(stack.images) for stack in source.stacks]
    for split, stack, z in _entries(values, source, fold, path):
        if not (0 <= stack < len(owners) and 0 <= z < len(owners[stack])):
            raise ConfigError(f"{path}: {split} names slice {z} of stack {stack}, which the source does not have")
        if owners[stack][z] not in (".", _LETTER_OF[split]):
            raise ConfigError(f"{path}: slice {z} of stack {stack} is in two splits; name every slice once")
        owners[stack][z] = _LETTER_OF[split]
    return tuple("".join(stack) for stack in owners)


def _read(path: Path) -> Any:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{path}: larger than {_MAX_BYTES:,} bytes; not a split file")
        refuse_pickle(path)
        return parse_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: expected a split file, cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: expected a split file in JSON ({error})") from error


def _entries(values: Any, source: Source, fold: int, path: Path) -> Iterator[tuple[str, int, int]]:
    """Yield (split, stack, z) for every slice that the file names."""
    if isinstance(values, dict) and isinstance(values.get("split"), dict):
        values = values["split"].get("slices")
    if isinstance(values, list) and values and all(isinstance(value, dict) for value in values):
        if not 0 <= fold < len(values):
            raise ConfigError(f"fold: expected 0 to {len(values) - 1}, the folds of {path}, got {fold}")
        yield from _named_entries(values[fold], source, path)
    elif isinstance(values, dict) and values and set(values) <= {*_LETTER_OF, MOVED}:
        yield from _own_entries(values, source, path)
    else:
        raise ConfigError(
            f"{path}: expected nnU-Net's list of folds, or the slices of {', '.join(SPLITS)}, such as "
            '{"train": [0, 1, 2], "test": [6]}'
        )


def _own_entries(values: Mapping[str, Any], source: Source, path: Path) -> Iterator[tuple[str, int, int]]:
    """Yield (split, stack, z) for every slice that one of our own forms names."""
    splits = {split: places for split, places in values.items() if split != MOVED}
    if MOVED in values and not all(_are_names(places) for places in splits.values()):
        raise ConfigError(f"{path}: {MOVED} belongs beside names of files, as an audit writes them; leave it out")
    named = NamedFiles(source, path)
    for split, places in splits.items():
        yield from ((split, stack, z) for stack, z in _places(places, source, named, path) if split != _UNUSED)


def _are_names(places: Any) -> bool:
    return isinstance(places, list) and all(isinstance(place, str) for place in places)


def _places(places: Any, source: Source, named: NamedFiles, path: Path) -> Iterator[tuple[int, int]]:
    """Yield (stack, z) of plain slice numbers, of {"stack": ..., "z": [...]}, or of names of files."""
    for place in places if isinstance(places, list) else [places]:
        if type(place) is int and len(source.stacks) == 1:
            yield 0, place
        elif isinstance(place, str) and isinstance(places, list):
            yield from named.slices(place)
        elif (
            isinstance(place, dict)
            and set(place) == {"stack", "z"}
            and isinstance(place["z"], list)
            and all(type(number) is int for number in (place["stack"], *place["z"]))
        ):
            yield from ((place["stack"], z) for z in place["z"])
        else:
            raise ConfigError(
                f'{path}: expected slice numbers in a list (of one stack), {{"stack": 0, "z": [0, 1]}}, or names of '
                f"files in a list, got {place!r:.60}"
            )


def _named_entries(folds: Mapping[str, Any], source: Source, path: Path) -> Iterator[tuple[str, int, int]]:
    """Yield (split, stack, z) for every case of one fold of nnU-Net's."""
    cases = _Cases(source)
    if not folds or not set(folds) <= set(SPLITS) or any(not isinstance(named, list) for named in folds.values()):
        raise ConfigError(f"{path}: expected a fold with lists of cases for train and val, got {sorted(folds)}")
    for split, named in folds.items():
        for case in named:
            if not isinstance(case, str) or not (slices := cases.find(case)):
                raise ConfigError(
                    f"{path}: {split} names the case {case!r:.80}, which is not in the source; "
                    f"{advise(str(case), sorted(cases.by_name))}"
                )
            yield from ((split, stack, z) for stack, z in slices)


class _Cases:
    """The slices of every case: of a file's name, with and without nnU-Net's number of the channel.

    A case may be named with an ending, and with that number where its file lacks it; two numbers are never both left
    out.
    """

    def __init__(self, source: Source) -> None:
        self.by_name: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        self._by_file: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for name, slices in files_of(source):
            stem, *shorter = case_names(name)
            for case in {name, stem, *shorter}:
                self.by_name[case] += slices
            self._by_file[stem] += slices

    def find(self, case: str) -> list[tuple[int, int]]:
        """Return the slices of a case; none where there is no such case."""
        stem, *shorter = case_names(case)
        tables = [(case, self.by_name), (stem, self.by_name), *((each, self._by_file) for each in shorter)]
        return next((table[name] for name, table in tables if name in table), [])
