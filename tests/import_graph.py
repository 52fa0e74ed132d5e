"""Who imports whom, read from the source text: the rooms, their order, and what each may use from outside."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("augment", "pipeline", "training")


@dataclass(frozen=True)
class Import:
    """One import: the module that asks for it, what it asks for, and whether it does so when it is imported itself."""

    importer: str
    name: str
    at_once: bool


class ImportGraph:
    """All imports of the three packages below a folder; what only a type checker sees does not count.

    Args:
        root: the folder.
        planted: lines to read at the end of a module, as if they stood there.
    """

    def __init__(self, root: Path, planted: Mapping[str, str] | None = None) -> None:
        self.files = {
            ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
            for package in PACKAGES
            for path in sorted((root / package).rglob("*.py"))
        }
        assert {name.partition(".")[0] for name in self.files} == set(PACKAGES), f"{root}: a package is missing"
        self.faces = {
            f"{package}.{name}": home
            for package, path in self.files.items()
            if path.name == "__init__.py" and path.with_suffix(".pyi").exists()
            for name, home in _face(package, path.with_suffix(".pyi"))
        }
        texts = {name: path.read_text(encoding="utf-8") for name, path in self.files.items()}
        for module, line in (planted or {}).items():
            texts[module] += f"\n{line}\n"
        self.imports = [found for name, text in texts.items() for found in self._read(name, text)]
        self._by_importer: dict[str, list[Import]] = {}
        for each in self.imports:
            self._by_importer.setdefault(each.importer, []).append(each)

    def loaded_by(self, module: str) -> set[str]:
        """Return every module, ours and others', that importing a module loads, as far as our own text tells."""
        loaded: set[str] = set()
        waiting = {module, *_ancestors(module)}
        while waiting:
            name = waiting.pop()
            loaded.add(name)
            wanted = {each.name for each in self._by_importer.get(name, ()) if each.at_once}
            waiting |= (wanted | {above for each in wanted for above in _ancestors(each)}) - loaded
        return loaded

    def circles(self) -> list[str]:
        """Return every way that leads from a module back to itself while it is being imported."""
        found, done = [], set()

        def visit(module: str, trail: tuple[str, ...]) -> None:
            if module in trail:
                found.append(" -> ".join((*trail[trail.index(module) :], module)))
                return
            if module in done:
                return
            for needed in sorted({each.name for each in self._by_importer.get(module, ()) if each.at_once}):
                if needed in self.files:
                    visit(needed, (*trail, module))
            done.add(module)

        for module in self.files:
            visit(module, ())
        return found

    def _read(self, module: str, text: str) -> Iterator[Import]:
        tree = ast.parse(text)
        later = {
            inner
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for inner in ast.walk(node)
        }
        unseen = {
            inner
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            for statement in node.body
            for inner in ast.walk(statement)
        }
        for node in ast.walk(tree):
            if node in unseen:
                continue
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{module}: relative imports are not used here"
                parts = [f"{node.module}.{alias.name}" for alias in node.names]
                names = [part if part in self.files else self.faces.get(part, str(node.module)) for part in parts]
            else:
                continue
            for name in names:
                yield Import(module, name, node not in later)


def _face(package: str, stub: Path) -> Iterator[tuple[str, str]]:
    """Yield the names that a package gives lazily, each with the module that is then imported."""
    for node in ast.parse(stub.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            yield from ((alias.name, f"{package}.{node.module}") for alias in node.names)


def _ancestors(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:k]) for k in range(1, len(parts))]
