"""The runs of the benchmark: each makes a world, audits it, asks the peers, and is kept as a JSON file in a folder."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from leaks.audits import audit
from leaks.clean_sets import PATTERNS, CleanSet, clean_sets
from leaks.kinds import KINDS, Kind, slug
from leaks.pairs import BLOCKS, Block
from leaks.tissues import Tissue, bbbc039, isbi, phantom
from leaks.worlds import leak_file, leaking_world

from pipeline.files import write_atomically
from pipeline.shards.digest import canonical_json

SIZE_PX = 384  # of training pictures
N_TRAIN, N_HONEST = 40, 5
N_LEAKS, N_LEAKS_CORE = 20, 10  # of a kind: of the first tissue, and of the others
TOGETHER = 6  # kinds that are audited at once, so that training pictures and source are looked at once
PEERS_SCRIPT = Path(__file__).parent / "peers.py"


@dataclass(frozen=True, slots=True)
class Settings:
    """What a benchmark runs on.

    Attributes:
        work: the folder of results.
        isbi: the folder of ISBI 2012's train-volume.tif and test-volume.tif; None to leave it out.
        bbbc039: the folder of BBBC039's fields; None to leave it out.
        peers_python: the Python that has the peers; None to leave them out.
        n_leaks: of each kind; None for as many as the table has.
        jobs: threads.
        only: what the names of runs must contain.
    """

    work: Path
    isbi: Path | None = None
    bbbc039: Path | None = None
    peers_python: str | None = sys.executable
    n_leaks: int | None = None
    jobs: int = -1
    only: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """One thing to do: its name, which is its file's, and what does it."""

    name: str
    make: Callable[[], Mapping[str, Any]]


def tissues_of(settings: Settings) -> list[Tissue]:
    """Return the tissues that are at hand; the first one stands for all where not all are needed."""
    found = [isbi(settings.isbi)] if settings.isbi else []
    found += [bbbc039(settings.bbbc039)] if settings.bbbc039 else []
    return [*found, phantom()]


def kind_runs(settings: Settings, tissues: Sequence[Tissue]) -> Iterator[Run]:
    """Yield the runs that look for leaks of every kind."""
    for rank, tissue in enumerate(tissues):
        n_leaks = settings.n_leaks or (N_LEAKS_CORE if rank else N_LEAKS)
        kinds = sorted((kind for kind in KINDS if kind.core or not rank), key=lambda kind: kind.layout)
        for layout, same in groupby(kinds, key=lambda kind: kind.layout):
            alike = list(same)
            for start in range(0, len(alike), TOGETHER):
                together = alike[start : start + TOGETHER]
                name = f"kinds/{slug(tissue.name)}-{layout}-{start // TOGETHER:02d}"
                yield Run(name, lambda t=tissue, k=together, n=n_leaks: _look_for_leaks(settings, t, k, n))


def clean_runs(settings: Settings, tissues: Sequence[Tissue]) -> Iterator[Run]:
    """Yield the runs over pictures that do not leak."""
    for each in [*PATTERNS, *(each for tissue in tissues for each in clean_sets(tissue))]:
        yield Run(f"clean/{slug(each.name)}", lambda s=each: _look_at_clean(settings, s))


def pair_runs(settings: Settings, tissues: Sequence[Tissue]) -> Iterator[Run]:
    """Yield the runs over millions of pairs of other tissue."""
    by_name = {tissue.name.split()[0]: tissue for tissue in tissues}
    for block in BLOCKS:
        if block.tissue in by_name:
            yield Run(f"pairs/{slug(block.name)}", lambda b=block: _look_at_pairs(settings, b, by_name[b.tissue]))


def run_all(runs: Iterator[Run], settings: Settings) -> None:
    """Do what is not done yet; every result is kept at once."""
    for run in runs:
        path = settings.work / f"{run.name}.json"
        if settings.only in run.name and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            result = run.make()
            write_atomically(path, [canonical_json(result)])
            print(f"{run.name}: {result['summary']}", flush=True)


def results(work: Path, group: str) -> list[dict[str, Any]]:
    """Return what is kept of one group of runs: kinds, clean or pairs."""
    return [json.loads(path.read_text()) for path in sorted((work / group).glob("*.json"))]


def _look_for_leaks(settings: Settings, tissue: Tissue, kinds: Sequence[Kind], n_leaks: int) -> dict[str, Any]:
    size = min(SIZE_PX, min(tissue.stack.shape[1:]) * 3 // 4)
    sizes = {"n_train": N_TRAIN, "n_leaks": n_leaks, "n_honest": N_HONEST}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        leaking_world(tissue, kinds, size=size, seed=0, **sizes).write(folder)
        seen = _audit(settings, folder, tissue.independent, with_source=True)
        scores = ask_peers(settings, folder)
    alone, all_named = {*seen["named"]["P001"], *seen["named"]["P007"]}, set().union(*seen["named"].values())
    rows = []
    for kind in kinds:
        files = [leak_file(kind, number) for number in range(n_leaks)]
        rows.append(
            {
                "kind": kind.name,
                "n": n_leaks,
                "compared": sum(file in alone for file in files),
                "with_source": sum(file in all_named for file in files),
                "missed": [file for file in files if file not in alone],
                "peers": {peer: own and [own[file] for file in files] for peer, own in scores.items()},
            }
        )
    honest = [file for file in all_named if not file.startswith("leak")]
    found = ", ".join(f"{row['kind']} {row['compared']}/{row['with_source']} of {n_leaks}" for row in rows)
    return {
        "tissue": tissue.name,
        "rows": rows,
        "honest_named": honest,
        "n_honest": N_HONEST,
        "audit": seen,
        "summary": f"{found}; honest {len(honest)} of {N_HONEST}; {seen['seconds']} s",
    }


def _look_at_clean(settings: Settings, clean: CleanSet) -> dict[str, Any]:
    world = clean.make(np.random.default_rng(np.random.SeedSequence(0, spawn_key=tuple(clean.name.encode()))))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        world.write(folder)
        alone = _audit(settings, folder, world.independent, with_source=False)
        sourced = _audit(settings, folder, world.independent, with_source=True) if clean.with_source else None
        scores = ask_peers(settings, folder)
        n_false = len(_named(alone) | _named(sourced or alone))
        if n_false:
            world.write(settings.work / "false-alarms" / slug(clean.name))
    verdicts = alone["verdict"] + (f"; with the source {sourced['verdict']}" if sourced else "")
    return {
        "name": clean.name,
        "group": clean.group,
        "tissue": clean.tissue,
        "size_px": clean.size_px,
        "n_train": len(world.train),
        "n_test": len(world.test),
        "n_false": n_false,
        "audit": alone,
        "with_source": sourced,
        "peers": {peer: own and list(own.values()) for peer, own in scores.items()},
        "summary": f"{verdicts}; false alarms {n_false} of {len(world.test)}; {alone['seconds']} s",
    }


def _look_at_pairs(settings: Settings, block: Block, tissue: Tissue) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        n_train, n_test = block.write(tissue, folder)
        seen = audit(folder / "train.tif", folder / "test.tif", None, jobs=settings.jobs)
    n_compared = n_train + n_test - seen["not_compared"]
    return {
        "name": block.name,
        "n_train": n_train,
        "n_test": n_test,
        "n_pairs": n_train * n_test,
        "n_false": len(_named(seen)),
        "audit": seen,
        "summary": f"{n_train * n_test} pairs, {len(_named(seen))} false; {n_compared} of {n_train + n_test} pictures "
        f"show enough; {seen['seconds']} s",
    }


def _audit(settings: Settings, folder: Path, independent: bool, *, with_source: bool) -> dict[str, Any]:
    source = folder / "source.tif" if with_source else None
    return audit(folder / "train", folder / "test", source, independent=independent, jobs=settings.jobs)


def _named(seen: Mapping[str, Any]) -> set[str]:
    return set().union(*seen["named"].values())


def ask_peers(settings: Settings, folder: Path) -> dict[str, dict[str, float] | None]:
    """Return every peer's score of every test picture; none where peers are left out."""
    if settings.peers_python is None:
        return {}
    out = folder / "peers.json"
    command = [settings.peers_python, str(PEERS_SCRIPT), str(folder / "train"), str(folder / "test"), str(out)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    scores: dict[str, dict[str, float] | None] = json.loads(out.read_text())
    return scores
