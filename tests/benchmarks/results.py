"""How well does the small U-Net segment, and what does a leaky validation hide? `make results SOURCE=FOLDER`

Trains on ISBI 2012's stack (FOLDER holds train-volume.tif and train-labels.tif) and scores on whole slices that were
never trained on, not augmented, averaged over the eight ways that a slice can lie. Each run ends as a row in
runs/results/rows.json; rows that are there are kept, runs that were interrupted go on, and the table is printed.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.build.builder import build_dataset
from pipeline.files import write_atomically
from pipeline.shards.config import BuildConfig
from pipeline.shards.digest import canonical_json
from pipeline.source.readers import read_folder
from training import evaluate, fit, preset, resume
from training.division import Division, divide
from training.run_folder import CONFIG_FILE, Row

FOLDS = 5
COLUMNS = ("iou_cell", "iou_membrane", "pixel_error", "misclassified", "v_rand", "v_info", "warping_error")
LEAKY_SHARE = 0.1  # of the augmented images, drawn at random, as the original pipeline did it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--minutes", type=float, default=20, help="of the main run (20)")
    parser.add_argument("--fold-minutes", type=float, default=8, help="of each fold, and of the leaky run (8)")
    parser.add_argument("--work", type=Path, default=Path("runs/results"))
    arguments = parser.parse_args()
    path = arguments.work / "rows.json"
    rows: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
    for name, make in plan(arguments):
        if name not in rows:
            print(f"{name} ...", flush=True)
            rows[name] = make()
            write_atomically(path, [canonical_json(rows)])
    text = table(rows)
    write_atomically(arguments.work / "table.md", [text.encode()])
    print(text)


def plan(arguments: argparse.Namespace) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Yield the name of each row and what makes it."""
    block = BuildConfig(n=300, seed=0)
    yield "main", lambda: row(arguments, "small-20min", block, divide, arguments.minutes)
    for fold in range(FOLDS):
        config = BuildConfig(n=300, seed=0, split="kfold", folds=FOLDS, fold=fold)
        name = f"fold-{fold}"
        yield name, lambda name=name, config=config: row(arguments, name, config, divide, arguments.fold_minutes)
    # The last fold tests the slices that the block split tests: it is the honest run that this one is held against.
    yield "leaky", lambda: row(arguments, "leaky", block, leak, arguments.fold_minutes)


def row(
    arguments: argparse.Namespace, name: str, config: BuildConfig, division: Callable[[Path], Division], minutes: float
) -> dict[str, Any]:
    """Build, train and score; what is finished already is not done again."""
    dataset = Path("datasets") / f"results-{config.split}-{config.fold}"
    build_dataset(read_folder(arguments.source), config, out=dataset)
    folder = arguments.work / name

    def on_round(found: Row) -> None:
        print(f"  {found}", flush=True)

    if (folder / CONFIG_FILE).exists():
        resume(folder, dataset=dataset, pictures=False, on_round=on_round)
    else:
        shared = {"minutes": minutes, "pictures": False, "on_round": on_round}
        fit(dataset, folder, preset("small"), division=division(dataset), **shared)
    images, labels = (arguments.source / f"train-{part}.tif" for part in ("volume", "labels"))
    scores = {
        name: evaluate(folder, dataset, "test", images=images, labels=labels, tta=tta).as_dict()
        for name, tta in (("test", True), ("test_without_tta", False))
    }
    rounds = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    seconds = sum(json.loads(line)["seconds"] for line in (folder / "times.jsonl").read_text().splitlines())
    return {**scores, "val": rounds[-1], "minutes": round(seconds / 60, 1), "steps": rounds[-1]["step"]}


def leak(dataset: Path) -> Division:
    """Return a division as the original pipeline made it: validation images drawn at random from the augmented ones.

    It exists here alone, to show what it does; augtrain has no way to ask for it.
    """
    honest = divide(dataset, held_out=0.01)
    everything = np.arange(max(*honest.train, *honest.watched) + 1)
    watched = np.random.default_rng(0).permutation(everything)[: round(LEAKY_SHARE * len(everything))]
    train = np.setdiff1d(everything, watched)
    return replace(honest, train=tuple(train.tolist()), watched=tuple(sorted(watched.tolist())))


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Return the table in Markdown."""
    lines = ["| run | minutes | steps | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 3) + "|"]

    def add(title: str, found: dict[str, Any], scores: dict[str, float]) -> None:
        values = " | ".join(f"{scores[column]:.4f}" for column in COLUMNS)
        lines.append(f"| {title} | {found['minutes']} | {found['steps']} | {values} |")

    if main_row := rows.get("main"):
        add("20 minutes, test slices", main_row, main_row["test"])
        add("the same, without averaging", main_row, main_row["test_without_tta"])
    folds = [rows[f"fold-{fold}"] for fold in range(FOLDS) if f"fold-{fold}" in rows]
    for number, found in enumerate(folds):
        add(f"fold {number}", found, found["test"])
    if len(folds) == FOLDS:
        for title, summary in (("mean", statistics.mean), ("standard deviation", statistics.stdev)):
            whole = {"minutes": "", "steps": ""}
            add(f"folds, {title}", whole, {c: summary([found["test"][c] for found in folds]) for c in COLUMNS})
    lines += ["", "| validation | what it says: IoU of cells, pixel error | what the test slices say | too good by |"]
    lines += ["|---|---|---|---|"]
    arms = ((f"fold-{FOLDS - 1}", "whole slices held out"), ("leaky", "augmented images drawn at random"))
    for name, title in arms:
        if found := rows.get(name):
            says = [found["val"][f"val_{column}"] for column in ("iou_cell", "pixel_error")]
            is_so = [found["test_without_tta"][column] for column in ("iou_cell", "pixel_error")]
            cells = [f"{a:.4f}, {b:.4f}" for a, b in (says, is_so, (says[0] - is_so[0], is_so[1] - says[1]))]
            lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
