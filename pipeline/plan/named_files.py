"""The files that a source was read from, found by the names that a split file calls them."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.errors import ConfigError, advise
from pipeline.plan.case_names import case_names
from pipeline.source.stacks import Source

_INNER = "images"  # of a split's folder that holds labels, too, this one is not part of a name
_PAGE = re.compile(r"#\d+$")
_MAX_EXAMPLES = 3


def files_of(source: Source) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """Yield the name of every file, and (stack, z) of its slices.

    That is one where every slice is a file, all boxes that it was cut into, or a whole stack.
    """
    for index, stack in enumerate(source.stacks):
        depth = len(stack.images)
        one_each = len(stack.names) == depth
        if one_each and stack.boxes:
            boxes: dict[str, list[tuple[int, int]]] = {}
            for z, name in enumerate(stack.names):
                boxes.setdefault(name, []).append((index, z))
            yield from boxes.items()
            continue
        for position, name in enumerate(stack.names):
            yield name, [(index, position)] if one_each else [(index, z) for z in range(depth)]


def folders_of(source: Source, stack: int) -> tuple[str, ...]:
    """Return the names of the folders that the images of a stack lie in, the root first; empty where none is known."""
    if len(source.files) != len(source.stacks):
        return ()
    path = source.files[stack][0].path
    return (path if path.is_dir() else path.parent).parts


class NamedFiles:
    """The files of a source, to be found by their names, each by one name alone.

    A name may have an ending that the source's lacks, and nnU-Net's number of the channel where one of the two lacks
    it. Two numbers are never both left out: `img_0007` is not `img_0003`. Its folders count where files have one name.
    """

    def __init__(self, source: Source, path: Path) -> None:
        self._source, self._path = source, path
        self._files = list(files_of(source))
        self._by_name: defaultdict[str, set[int]] = defaultdict(set)
        self._by_case: defaultdict[str, set[int]] = defaultdict(set)
        self._named: dict[int, str] = {}
        for number, (name, _) in enumerate(self._files):
            # Their endings are lost, but for the first half of .ome.tif.
            stem, *case = case_names(f"{name}.tif")
            for each in {name, stem}:
                self._by_name[each].add(number)
            for each in case:
                self._by_case[each].add(number)

    def knows(self, name: str) -> bool:
        """Return whether a file of the source may be called that."""
        return not _PAGE.search(name) and bool(self._find(name))

    def slices(self, name: str) -> list[tuple[int, int]]:
        """Return (stack, z) of the slices of a file.

        Raises:
            ConfigError: it is not in the source, or several files have that name, or one file has two.
        """
        found = self._find(name)
        if not found:
            known = [known for known, _ in self._files]
            stem = case_names(name)[0]
            raise ConfigError(f"{self._path}: names {name!r:.80}, which is not in the source; {advise(stem, known)}")
        if len(found) > 1:
            found = self._in_folders(name, found)
        (number,) = found
        if (other := self._named.setdefault(number, name)) != name:
            raise ConfigError(f"{self._path}: {other!r:.80} and {name!r:.80} are the same file of the source; name one")
        return self._files[number][1]

    def _in_folders(self, name: str, found: set[int]) -> set[int]:
        """Return the one of several files of a name that lies in the folders of the name, the innermost last."""
        *folders, _ = re.split(r"[/\\]", name.strip())
        paths = {number: folders_of(self._source, self._files[number][1][0][0]) for number in sorted(found)}
        lying = {number for number, path in paths.items() if folders and _ends(path, folders)}
        if len(lying) == 1:
            return lying
        beginning = f"{self._path}: {name!r:.80} is the name of {len(found)} files of the source"
        stems = {number: self._files[number][0] for number in paths}
        n_told = max(map(len, paths.values())) if len(set(stems.values())) < len(stems) else 0
        for n in range(1, n_told + 1):
            full = ["/".join((*path[-n:], stems[number])) for number, path in paths.items()]
            if len(set(full)) == len(full):
                several = ", ".join(full[:_MAX_EXAMPLES])
                raise ConfigError(f"{beginning}; write it with its folders, such as {several}")
        raise ConfigError(
            f"{beginning}, such as {', '.join(list(stems.values())[:_MAX_EXAMPLES])}; give them different names, or "
            "name slices by their numbers"
        )

    def _find(self, name: str) -> set[int]:
        if name in self._by_name:
            return self._by_name[name]
        if _PAGE.search(name):
            raise ConfigError(f"{self._path}: {name!r:.80} is a page of a file; name whole files, or slices by number")
        stem, *case = case_names(name)
        tables = [(stem, self._by_name), *((each, self._by_name) for each in case), (stem, self._by_case)]
        return next((table[key] for key, table in tables if key in table), set())


def _ends(path: Sequence[str], folders: Sequence[str]) -> bool:
    """Return whether a path ends in these folders, as it is or without those that are called images."""
    shorter = [folder for folder in path if folder != _INNER]
    return any(list(each[-len(folders) :]) == list(folders) for each in (path, shorter))
