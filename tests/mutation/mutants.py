"""How many planted faults the tests find: a seeded share of all mutants of three rooms, each run by its room's tests.

    make mutants                                (SEED=0 PER_ROOM=25; up to half an hour on two cores)

A mutant is one small change in one function: `<` becomes `<=`, `+` becomes `-`, a number grows by one, a condition is
turned round, a loop never runs. cosmic-ray makes them, from the operators in OPERATORS; at most one mutant is made at
a place, so that lines of arithmetic do not outweigh the rest. Decorators stay (without numba's a kernel is merely
slow), and so do annotations. Some survivors change nothing that can be seen, such as the size of a cache: the rate of
killed mutants is to be compared between commits, not with 100 %.

The mutants live in a copy of the working tree, and share a folder of compiled code, which is kept by its source.
"""

import argparse
import difflib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator

ROOT = Path(__file__).parents[2]
ROOMS = {
    "augment": "tests/augment",
    "pipeline/plan": "tests/pipeline/plan",
    "pipeline/shards": "tests/pipeline/shards",
}
BINARY = ["Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Mul", "Mod_FloorDiv", "Pow_Mul", "LShift_RShift"]
COMPARISON = ["Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is", "Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt"]
COMPARISON += ["Lt_GtE", "LtE_Gt", "Gt_LtE", "GtE_Lt"]
OPERATORS = [f"ReplaceBinaryOperator_{change}" for change in BINARY]
OPERATORS += [f"ReplaceComparisonOperator_{change}" for change in COMPARISON]
OPERATORS += ["ReplaceUnaryOperator_Delete_Not", "ReplaceUnaryOperator_USub_UAdd", "AddNot", "NumberReplacer"]
OPERATORS += ["ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd"]
OPERATORS += ["ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ExceptionReplacer", "ZeroIterationForLoop"]

MAX_BYTES = 16 * 2**30  # of address space: a mutant may ask for more than the machine has
PYTEST = ["-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0"]


class Mutant(NamedTuple):
    """One change: which occurrence of an operator's targets, counted over its module, and where that is."""

    room: str
    module: str
    operator: str
    occurrence: int
    line: int
    function: str


class Tree:
    """A copy of the working tree in which tests are run.

    Attributes:
        root: where the copy is.
        python: the interpreter that has everything the tests need.
        cache: compiled kernels, of the unchanged code and of mutants.
    """

    def __init__(self, folder: Path, python: str) -> None:
        self.root, self.python, self.cache = folder / "tree", python, folder / "cache"
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True)
        for name in filter(None, listed.stdout.split("\0")):
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, self.root / name)

    def run(self, tests: list[str], limit_s: float) -> tuple[str, float]:
        """Run tests: "survived" where all passed, else "killed", or "timeout"; and how long that took, in seconds."""
        environment = os.environ | {"PYTHONPATH": str(self.root), "NUMBA_CACHE_DIR": str(self.cache)}
        environment["PYTHONDONTWRITEBYTECODE"] = "1"  # two changes within a second look alike to Python's own cache
        start = time.monotonic()
        process = subprocess.Popen(
            [self.python, *PYTEST, *tests],
            cwd=self.root,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            outcome = "survived" if process.wait(limit_s) == 0 else "killed"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with all that the tests have started
            process.wait()
            outcome = "timeout"
        return outcome, time.monotonic() - start


def main() -> None:
    parser = argparse.ArgumentParser(description="Plant faults and count those that the tests find.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--per-room", type=int, default=25, help="mutants of each room")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that runs the tests")
    parser.add_argument("--list", action="store_true", help="only say which mutants would be run")
    options = parser.parse_args()
    chosen = {room: choose_mutants(room, options.per_room, options.seed) for room in ROOMS}
    if options.list:
        for mutant in (mutant for mutants in chosen.values() for mutant in mutants):
            print("\n".join([title(mutant), *changed_lines(mutant)]))
        return
    resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
    with tempfile.TemporaryDirectory() as folder:
        tree = Tree(Path(folder), str(Path(options.python).absolute()))
        report({room: run_room(tree, room, mutants) for room, mutants in chosen.items()})


def choose_mutants(room: str, n_mutants: int, seed: int) -> list[Mutant]:
    """Return mutants of one room, none of them at the same place; the same ones for the same code and seed."""
    places: dict[tuple[str, tuple[int, int]], list[Mutant]] = {}
    for path in sorted((ROOT / room).rglob("*.py")):
        for place, mutant in find_mutants(room, path):
            places.setdefault((mutant.module, place), []).append(mutant)
    rng = random.Random(f"{seed}/{room}")
    drawn = rng.sample(sorted(places), min(n_mutants, len(places)))
    print(f"{room}: {len(drawn)} of {len(places)} places", flush=True)
    return [rng.choice(places[place]) for place in drawn]


def find_mutants(room: str, path: Path):
    """Yield every possible mutant of a module, and the line and column of its change."""
    nodes = list(ast_nodes(get_ast(path.read_text(encoding="utf-8"))))
    for name in OPERATORS:
        operator = get_operator(f"core/{name}")()
        targets = [(node, begin) for node in nodes for begin, _ in operator.mutation_positions(node)]
        for occurrence, (node, begin) in enumerate(targets):
            function = enclosing_function(node)
            if function is not None and node.parent.type != "parameters":  # the star of keyword-only parameters
                module = path.relative_to(ROOT).as_posix()
                yield begin, Mutant(room, module, name, occurrence, begin[0], function)


def enclosing_function(node) -> str | None:
    while node is not None and node.type != "funcdef":
        node = node.parent
    return None if node is None else node.name.value


def run_room(tree: Tree, room: str, mutants: list[Mutant]) -> list[tuple[Mutant, str]]:
    """Run the room's tests on every mutant, after they have passed on the code as it is."""
    tests = sorted(path.relative_to(tree.root).as_posix() for path in (tree.root / ROOMS[room]).rglob("test_*.py"))
    outcome, took_s = tree.run(tests, limit_s=1200)
    if outcome != "survived":
        sys.exit(f"{ROOMS[room]}: the tests do not pass on the code as it is ({outcome})")
    results = []
    for mutant in mutants:
        stem = Path(mutant.module).stem
        likely_first = sorted(tests, key=lambda name: stem not in Path(name).stem)
        results.append((mutant, run_mutant(tree, mutant, likely_first, limit_s=60 + 4 * took_s)))
    return results


def run_mutant(tree: Tree, mutant: Mutant, tests: list[str], limit_s: float) -> str:
    path = tree.root / mutant.module
    original = path.read_text(encoding="utf-8")
    path.write_text(mutate(mutant, original), encoding="utf-8")
    outcome, took_s = tree.run(tests, limit_s)
    path.write_text(original, encoding="utf-8")
    print(f"{outcome:8} {took_s:5.0f} s  {title(mutant)}", flush=True)
    return outcome


def mutate(mutant: Mutant, code: str) -> str:
    return mutate_code(code, get_operator(f"core/{mutant.operator}")(), mutant.occurrence)


def report(results: dict[str, list[tuple[Mutant, str]]]) -> None:
    print("\nSurvivors:")
    for mutant in (mutant for of_room in results.values() for mutant, outcome in of_room if outcome == "survived"):
        print("\n".join([title(mutant), *changed_lines(mutant)]))
    print()
    for room, of_room in results.items():
        print(f"{room}: {counts([outcome for _, outcome in of_room])}")
    print(f"all: {counts([outcome for of_room in results.values() for _, outcome in of_room])}")


def counts(outcomes: list[str]) -> str:
    n = Counter(outcomes)
    found = (n["killed"] + n["timeout"]) / max(1, len(outcomes))
    return f"{n['killed']} killed, {n['timeout']} timeout, {n['survived']} survived: {found:.0%} found"


def title(mutant: Mutant) -> str:
    return f"{mutant.module}:{mutant.line} in {mutant.function}: {mutant.operator}"


def changed_lines(mutant: Mutant) -> list[str]:
    """Return the lines that differ, with - and + in front."""
    code = (ROOT / mutant.module).read_text(encoding="utf-8")
    lines = difflib.unified_diff(code.splitlines(), mutate(mutant, code).splitlines(), n=0, lineterm="")
    return [f"    {line}" for line in lines if not line.startswith(("---", "+++", "@@"))]


if __name__ == "__main__":
    main()
