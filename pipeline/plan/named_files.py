"""The files that a source was read from, found by the names that a split file calls them."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import ConfigError, advise
from pipeline.plan.case_names import case_names
from pipeline.source.stacks import Source

_PAGE = re.compile(r"#\d+$")
_MAX_EXAMPLES = 3


def files_of(source: Source) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """Yield the name of every file, and (stack, z) of its slices: one where every slice is a file, or a whole stack."""
    for index, stack in enumerate(source.stacks):
        depth = len(stack.images)
        one_each = len(stack.names) == depth
        for position, name in enumerate(stack.names):
            yield name, [(index, position)] if one_each else [(index, z) for z in range(depth)]


class NamedFiles:
    """The files of a source, to be found by their names, each by one name alone.

    A name may have folders and an ending that the source's lacks, and nnU-Net's number of the channel where one of the
    two lacks it. Two numbers are never both left out: `img_0007` is not `img_0003`.
    """

    def __init__(self, source: Source, path: Path) -> None:
        self._path = path
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
            several = ", ".join(self._files[number][0] for number in sorted(found)[:_MAX_EXAMPLES])
            raise ConfigError(
                f"{self._path}: {name!r:.80} is the name of {len(found)} files of the source, such as {several}; give "
                "them different names, or name slices by their numbers"
            )
        (number,) = found
        if (other := self._named.setdefault(number, name)) != name:
            raise ConfigError(f"{self._path}: {other!r:.80} and {name!r:.80} are the same file of the source; name one")
        return self._files[number][1]

    def _find(self, name: str) -> set[int]:
        if name in self._by_name:
            return self._by_name[name]
        if _PAGE.search(name):
            raise ConfigError(f"{self._path}: {name!r:.80} is a page of a file; name whole files, or slices by number")
        stem, *case = case_names(name)
        tables = [(stem, self._by_name), *((each, self._by_name) for each in case), (stem, self._by_case)]
        return next((table[key] for key, table in tables if key in table), set())
