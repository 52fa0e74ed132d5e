"""The runs of the benchmark: each makes a world, audits it, asks the peers, and is kept as a JSON file in a folder."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from leaks.audits import audit
from leaks.clean_sets import PATTERNS, CleanSet, clean_sets
from leaks.kinds import KINDS, Kind, slug
from leaks.pairs import BLOCKS, Block
from leaks.tissues import Tissue, bbbc039, isbi, phantom
from leaks.worlds import World, leak_file, leaking_world

from pipeline.files import write_atomically
from pipeline.shards.digest import canonical_json

SIZE_PX = 384  # of training pictures
N_TRAIN, N_HONEST = 40, 5
N_LEAKS, N_LEAKS_CORE = 20, 10  # of a kind: of the first tissue, and of the others
TOGETHER = 12  # kinds that are audited at once, so that training pictures and source are looked at once
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


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Kinds of leak that are looked for at once: a tissue, some kinds, and how many leaks of each."""

    name: str
    tissue: Tissue
    kinds: Sequence[Kind]
    n_leaks: int

    def world(self) -> World:
        """Return the pictures."""
        size = min(SIZE_PX, min(self.tissue.stack.shape[1:]) * 3 // 4)
        sizes = {"n_train": N_TRAIN, "n_leaks": self.n_leaks, "n_honest": N_HONEST}
        return leaking_world(self.tissue, self.kinds, size=size, seed=0, **sizes)


def _batches(settings: Settings, tissues: Sequence[Tissue]) -> Iterator[Batch]:
    for rank, tissue in enumerate(tissues):
        n_leaks = settings.n_leaks or (N_LEAKS_CORE if rank else N_LEAKS)
        kinds = sorted((kind for kind in KINDS if kind.core or not rank), key=lambda kind: kind.layout)
        for layout, same in groupby(kinds, key=lambda kind: kind.layout):
            alike = list(same)
            for start in range(0, len(alike), TOGETHER):
                together = alike[start : start + TOGETHER]
                name = f"{slug(tissue.name)}-{layout}-{start // TOGETHER:02d}"
                yield Batch(name, tissue, together, n_leaks)


def kind_runs(settings: Settings, tissues: Sequence[Tissue]) -> Iterator[Run]:
    """Yield the runs that look for leaks of every kind, and after them the same with the source named."""
    for group in ("kinds", "sourced"):
        for batch in _batches(settings, tissues):
            yield Run(
                f"{group}/{batch.name}", partial(_look_for_leaks, settings, batch, with_source=group == "sourced")
            )


def clean_runs(settings: Settings, tissues: Sequence[Tissue]) -> Iterator[Run]:
    """Yield the runs over pictures that do not leak."""
    for each in _all_clean(tissues):
        yield Run(f"clean/{slug(each.name)}", partial(_look_at_clean, settings, each))


def _all_clean(tissues: Sequence[Tissue]) -> list[CleanSet]:
    return [*PATTERNS, *(each for tissue in tissues for each in clean_sets(tissue))]


def peer_runs(settings: Settings, tissues: Sequence[Tissue]) -> Iterator[Run]:
    """Yield the runs that ask other means of the same pictures; none where they are left out."""
    if settings.peers_python is None:
        return
    for batch in _batches(settings, tissues):
        yield Run(f"peers/kinds/{batch.name}", partial(_ask_peers, settings.peers_python, batch.world))
    for each in _all_clean(tissues):
        yield Run(f"peers/clean/{slug(each.name)}", partial(_ask_peers, settings.peers_python, each.world))


def pair_runs(settings: Settings, tissues: Sequence[Tissue]) -> Iterator[Run]:
    """Yield the runs over millions of pairs of other tissue."""
    by_name = {tissue.name.split()[0]: tissue for tissue in tissues}
    for block in BLOCKS:
        if block.tissue in by_name:
            yield Run(f"pairs/{slug(block.name)}", partial(_look_at_pairs, settings, block, by_name[block.tissue]))


def run_all(runs: Iterable[Run], settings: Settings, *, at_once: int = 1) -> None:
    """Do what is not done yet, so many at once; every result is kept as soon as it is there."""

    def do(run: Run) -> None:
        path = settings.work / f"{run.name}.json"
        if settings.only not in run.name or path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        result = run.make()
        write_atomically(path, [canonical_json(result)])
        print(f"{run.name}: {result['summary']}", flush=True)

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(do, runs))


def results(work: Path, group: str) -> list[dict[str, Any]]:
    """Return what is kept of one group of runs: kinds, sourced, clean or pairs.

    Each has what the peers say, if they were asked: for each peer, None where it is not installed, else its score of
    each test picture.
    """
    kept = []
    for path in sorted((work / group).glob("*.json")):
        asked = work / "peers" / group / path.name
        peers = json.loads(asked.read_text())["scores"] if asked.exists() else {}
        kept.append({**json.loads(path.read_text()), "peers": peers})
    return kept


def _look_for_leaks(settings: Settings, batch: Batch, *, with_source: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        batch.world().write(folder)
        seen = _audit(settings, folder, independent=batch.tissue.independent, with_source=with_source)
    named = _named(seen)
    rows = []
    for kind in batch.kinds:
        files = [leak_file(kind, number) for number in range(batch.n_leaks)]
        missed = [file for file in files if file not in named]
        rows.append({"kind": kind.name, "files": files, "n_found": len(files) - len(missed), "missed": missed})
    honest = sorted(file for file in named if not file.startswith("leak"))
    found = ", ".join(f"{row['kind']} {row['n_found']}" for row in rows)
    return {
        "tissue": batch.tissue.name,
        "rows": rows,
        "honest_named": honest,
        "n_honest": N_HONEST,
        "audit": seen,
        "summary": f"{found}; each of {batch.n_leaks}; honest {len(honest)} of {N_HONEST}; {seen['seconds']} s",
    }


def _look_at_clean(settings: Settings, clean: CleanSet) -> dict[str, Any]:
    world = clean.world()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        world.write(folder)
        alone = _audit(settings, folder, independent=world.independent, with_source=False)
        sourced = None
        if clean.with_source:
            sourced = _audit(settings, folder, independent=world.independent, with_source=True)
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
        "summary": f"{verdicts}; false alarms {n_false} of {len(world.test)}; {alone['seconds']} s",
    }


def _look_at_pairs(settings: Settings, block: Block, tissue: Tissue) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        n_train, n_test = block.write(tissue, folder)
        seen = audit(folder / "train.tif", folder / "test.tif", None, jobs=settings.jobs)
        _keep_pairs(seen, folder, settings.work / "false-alarms" / slug(block.name))
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


def _keep_pairs(seen: Mapping[str, Any], folder: Path, to: Path) -> None:
    """Keep the two pictures of every false alarm side by side, the test picture on the left."""
    for each in seen["evidence"]:
        pages = [
            tifffile.imread(folder / file, key=int(page)) for file, page in map(_page, (each["sample"], each["other"]))
        ]
        to.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(to / f"{slug(each['sample'])}-{slug(each['other'])}.tif", np.hstack(pages))


def _page(name: str) -> list[str]:
    return name.split("#")


def _audit(settings: Settings, folder: Path, *, independent: bool, with_source: bool) -> dict[str, Any]:
    source = folder / "source.tif" if with_source else None
    return audit(folder / "train", folder / "test", source, independent=independent, jobs=settings.jobs)


def _named(seen: Mapping[str, Any]) -> set[str]:
    return set().union(*seen["named"].values())


def _ask_peers(python: str, make: Callable[[], World]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make().write(folder)
        out = folder / "peers.json"
        command = [python, str(PEERS_SCRIPT), str(folder / "train"), str(folder / "test"), str(out)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
        said: dict[str, Any] = json.loads(out.read_text())
    missing = [peer for peer, own in said["scores"].items() if own is None]
    return {**said, "summary": f"asked; not installed: {', '.join(missing) or 'none'}"}
