"""The rooms and who may enter: each imports only what comes before it, and from outside only what it needs."""

import shutil
import sys
from pathlib import Path

import pytest
from import_graph import PACKAGES, ImportGraph

ROOT = Path(__file__).parents[1]

# Each room may import those before it, and itself.
ORDER = (
    "augment",
    "pipeline.version",
    "pipeline.errors",
    "pipeline.process",
    "pipeline.files",
    "pipeline.shards",
    "pipeline.source",
    "pipeline.plan",
    "pipeline.render",
    "pipeline.verify",
    "pipeline.look",
    "pipeline.audit",
    "pipeline.card",
    "pipeline.build",
    "pipeline.publish",
    "pipeline.cli",
)
# What training imports: these when it is imported, and those inside the functions that need them.
OPEN_TO_TRAINING = ("pipeline.errors", "pipeline.process", "pipeline.files", "pipeline.shards")
LATER_OPEN_TO_TRAINING = (*OPEN_TO_TRAINING, "pipeline.source", "augment.native", "augment.weight_map")
# Who alone may import what.
ONLY_IN = {
    "click": ("pipeline.cli", "training.cli"),
    "cv2": ("pipeline.audit",),
    "h5py": ("pipeline.shards", "pipeline.render", "pipeline.audit", "pipeline.source.pages"),
    "imagecodecs": ("pipeline.source", "pipeline.render"),
    "kaggle": ("pipeline.publish.kaggle",),
    "kagglesdk": ("pipeline.publish.kaggle",),
    "keras": ("training",),
    "llvmlite": ("augment",),
    "numba": ("augment",),
    "PIL": ("pipeline.look", "pipeline.audit", "pipeline.card"),
    "requests": ("pipeline.publish.kaggle",),
    "tifffile": ("pipeline.source",),
    "torch": ("training",),
}
# What importing a module must not load; the help of `augpipe` imports all its commands.
HEAVY = {"numpy", "h5py", "numba", "scipy", "joblib", "tifffile", "rich", "msgspec"}
LIGHT = {
    "augment": {"numpy", "numba", "scipy"},
    "augment.draw": {"numba", "scipy", "h5py"},
    "pipeline": {"numpy", "h5py", "numba", "scipy"},
    "pipeline.audit.auditing": {"numba", "augment.renderer", "augment.kernel"},
    "pipeline.cli": {"numpy", "click"},
    "pipeline.cli.entry": {"numpy", "pipeline.cli.options", "pipeline.shards.config"},
    "pipeline.cli.start": {"numpy", "click"},
    "pipeline.cli.auditing": HEAVY,
    "pipeline.cli.building": HEAVY,
    "pipeline.cli.inspecting": HEAVY,
    "pipeline.cli.publishing": HEAVY,
    "pipeline.errors": {"numpy", "h5py"},
    "pipeline.files": {"numpy", "h5py"},
    "pipeline.process": {"numpy", "h5py", "click"},
    "pipeline.shards.dataset": {"numba", "scipy", "click", "joblib", "tifffile", "rich", "imagecodecs"},
    "training": {"torch", "h5py", "numpy"},
    "training.start": {"numpy", "click", "logging"},
    "training.dataset": {"torch", "numba", "scipy", "click", "joblib", "tifffile", "rich"},
    "training.unet": {"h5py"},
}


def room_of(module: str) -> str | None:
    """Return the room that a module is in; None for the packages' own faces."""
    return next((room for room in ORDER if module == room or module.startswith(f"{room}.")), None)


def is_in(module: str, rooms: tuple[str, ...]) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def wrong_doors(graph: ImportGraph) -> list[str]:
    """Return every import that the tables above forbid."""
    wrong = [f"circle: {circle}" for circle in graph.circles()]
    for each in graph.imports:
        door = f"{each.importer} imports {each.name}"
        top = each.name.partition(".")[0]
        if each.importer.startswith("training"):
            allowed = OPEN_TO_TRAINING if each.at_once else LATER_OPEN_TO_TRAINING
            if top in ("augment", "pipeline") and not is_in(each.name, allowed):
                wrong.append(door)
        elif top == "training":
            wrong.append(door)
        elif top in PACKAGES and (here := room_of(each.importer)):
            there = room_of(each.name)
            if there is None or ORDER.index(there) > ORDER.index(here):
                wrong.append(door)
        if top in ONLY_IN and not is_in(each.importer, ONLY_IN[top]):
            wrong.append(door)
    for module, heavy in LIGHT.items():
        assert module in graph.files, module
        loaded = graph.loaded_by(module)
        tops = {name.partition(".")[0] for name in loaded}
        wrong += [f"importing {module} loads {name}" for name in sorted(heavy & (loaded | tops))]
    return wrong


def test_every_module_enters_by_the_right_door() -> None:
    assert wrong_doors(ImportGraph(ROOT)) == []


def test_every_module_of_the_pipeline_is_in_a_room() -> None:
    graph = ImportGraph(ROOT)
    assert [name for name in graph.files if name.startswith("pipeline.") and room_of(name) is None] == []
    assert all(any(is_in(name, (room,)) for name in graph.files) for room in ORDER)


@pytest.mark.parametrize(
    ("module", "line", "words"),
    [
        ("pipeline.shards.digest", "import pipeline.shards.dataset", "circle: "),
        ("pipeline.shards", "import pipeline.cli.entry", "pipeline.shards imports pipeline.cli.entry"),
        ("pipeline.shards.digest", "import kaggle", "pipeline.shards.digest imports kaggle"),
        ("pipeline.shards.digest", "def f():\n    import kagglesdk.kaggle_env", "imports kagglesdk.kaggle_env"),
        ("training.unet", "import h5py", "importing training.unet loads h5py"),
        ("training.unet", "from pipeline.shards import open_dataset", "importing training.unet loads h5py"),
        ("training.unet", "import pipeline.source.stacks", "training.unet imports pipeline.source.stacks"),
        ("training.unet", "from pipeline import make_source", "training.unet imports pipeline.source.combining"),
        ("training.unet", "import pipeline", "training.unet imports pipeline"),
        ("augment.recipe", "import pipeline.errors", "augment.recipe imports pipeline.errors"),
        ("augment", "import training.unet", "augment imports training.unet"),
        ("pipeline.source.labels", "def f():\n    import pipeline.build.builder", "imports pipeline.build.builder"),
        ("pipeline.cli", "import numpy", "importing pipeline.cli.building loads numpy"),
        ("pipeline.errors", "import numpy", "importing pipeline.errors loads numpy"),
        ("pipeline.audit.report", "import augment.renderer", "pipeline.audit.auditing loads augment.renderer"),
    ],
)
def test_a_planted_fault_is_found(module: str, line: str, words: str) -> None:
    assert any(words in wrong for wrong in wrong_doors(ImportGraph(ROOT, {module: line})))


def test_a_package_that_moved_is_noticed(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "augment", tmp_path / "augment", ignore=shutil.ignore_patterns("__pycache__"))
    with pytest.raises(AssertionError, match="a package is missing"):
        ImportGraph(tmp_path)


def test_only_the_three_packages_are_at_the_top() -> None:
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} == set(PACKAGES)
    assert sys.version_info >= (3, 11)
