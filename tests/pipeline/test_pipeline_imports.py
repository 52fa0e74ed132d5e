"""The rooms and who may enter: augment <- pipeline, and training reads shards alone."""

import ast
import sys
from pathlib import Path

import pytest
from small_worlds import run_python

ROOT = Path(__file__).parents[2]
ROOMS = ("augment", "pipeline", "training")
OPEN = {"pipeline.shards", "pipeline.files", "pipeline.errors"}
LAZY = {"pipeline.source.tiff", "augment.weight_map"}  # what training may import inside the functions that need it


def imports(path: Path) -> list[tuple[str, bool]]:
    """Return every module that a file imports, and whether it does so when it is imported itself."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node not in inner) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports are not used here"
            found.append((node.module or "", node not in inner))
    return found


def files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize(("room", "barred"), [("augment", {"pipeline", "training"}), ("pipeline", {"training"})])
def test_no_room_imports_the_ones_above_it(room: str, barred: set[str]) -> None:
    assert files(room)
    for path in files(room):
        rooms = {module.partition(".")[0] for module, _ in imports(path)}
        assert not rooms & barred, path


def test_training_reads_shards_alone() -> None:
    for path in files("training"):
        for module, at_once in imports(path):
            if module.partition(".")[0] in {"augment", "pipeline"}:
                allowed = module in OPEN or module.startswith("pipeline.shards.")
                assert allowed or (module in LAZY and not at_once), f"{path}: {module}"


def test_the_audit_does_not_know_how_samples_are_rendered(tmp_path: Path) -> None:
    """What looks at the pixels must not share a mistake with what made them; R001 alone renders, when it runs."""
    code = (
        "import sys; import pipeline.audit.conductor; "
        "print(sorted({'augment.renderer', 'augment.kernel', 'augment.deform', 'numba'} & set(sys.modules)))"
    )
    assert run_python(code, cwd=tmp_path).stdout.strip() == "[]"


def test_no_module_imports_in_a_circle() -> None:
    graph = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): {
            module for module, at_once in imports(path) if at_once and module.partition(".")[0] in ROOMS
        }
        for room in ROOMS
        for path in files(room)
        if path.name != "__init__.py"  # their names are lazy, but for the type checker
    }
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail, module))
        if module not in done:
            for needed in sorted(graph.get(module, ())):
                visit(needed, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("package", ["augment", "pipeline"])
def test_every_public_name_is_there(package: str) -> None:
    module = __import__(package)
    assert module.__all__ == sorted(module.__all__)
    for name in module.__all__:
        assert getattr(module, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'more'"):
        _ = module.more


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import pipeline.cli", {"numba", "scipy", "h5py", "joblib", "tifffile"}),
        ("import augment, pipeline", {"numba", "scipy", "h5py", "numpy"}),
        ("from pipeline.shards import open_dataset", {"numba", "scipy", "click", "joblib", "tifffile", "rich"}),
        ("from augment import Recipe, draw_recipe", {"numba", "scipy", "h5py"}),
    ],
)
def test_what_is_heavy_is_loaded_when_it_is_used(tmp_path: Path, code: str, heavy: set[str]) -> None:
    result = run_python(f"{code}\nimport sys\nprint(sorted({heavy!r} & set(sys.modules)))", cwd=tmp_path)
    assert result.stdout == "[]\n", result.stderr


def test_only_the_three_rooms_are_packages() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages == set(ROOMS)
    assert sys.version_info >= (3, 11)
