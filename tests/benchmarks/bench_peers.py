"""How fast other libraries do the same augmentation, on one core; `peers.py` says what the job is.

    make peers                                  (five minutes; writes docs/speed.md)

or, in an environment of its own, since the libraries have many of their own:

    pip install -r requirements-peers.txt && pip install --no-deps -e .
    python tests/benchmarks/bench_peers.py --write docs/speed.md

What is counted is processor time, of all threads, with the process bound to one core: other work on the machine then
hardly counts. Each peer takes turns with augpipe, and what is compared is the two times of a turn.
"""

import argparse
import os
import platform
import statistics
import time
import warnings
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

os.environ.update(  # libraries read this while they are loaded
    OMP_NUM_THREADS="1",
    MKL_NUM_THREADS="1",
    OPENBLAS_NUM_THREADS="1",
    NUMBA_NUM_THREADS="1",
    NO_ALBUMENTATIONS_UPDATE="1",  # or it asks the network for a newer version of itself
)

import cv2
import numpy as np
from peers import OURS, PEERS, Action, Peer, Pixels

from pipeline.files import write_atomically
from pipeline.source.phantom import make_phantom

SIDES = (700, 256)
PAGE = """# How fast others do the same

One image and its label on one core: rotated by any angle, deformed by 10 px from 3 x 3 control points, the edge
mirrored, the image cubic, the label nearest; or what each library has nearest to that, in its best setting. An image
and its label count once: 1 Mpx/s is a million pixels of image and as many of label a second, angle and field drawn.
"Times augpipe's" is the median over {rounds} turns, each of augpipe and of the other; in brackets the quartiles.

{tables}
What is counted is processor time, of all threads, with the process bound to one core of a shared virtual machine
({cpu}; Python {python}, PyTorch {torch}, NumPy {numpy}). What does not depend on the random numbers is done before:
the slice's spline coefficients (augpipe, scipy, elasticdeform) and tensors of float32 (PyTorch).

Measured by `make peers`, that is `python tests/benchmarks/bench_peers.py --write docs/speed.md` in an environment with
`requirements-peers.txt`. `tests/benchmarks/peers.py` has every setting.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of one peer: seconds of a sample, and the times that augpipe's took, turn by turn."""

    peer: Peer
    seconds: float
    ratios: list[float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="turns of each pair (15)")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="the Markdown page to write; else it is printed")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    warnings.filterwarnings("ignore")
    tables = "\n".join(table(side, measure(side, arguments.rounds), differs=side == SIDES[0]) for side in SIDES)
    facts = {"cpu": processor(), "python": platform.python_version(), "numpy": np.__version__}
    page = PAGE.format(tables=tables, rounds=arguments.rounds, torch=version_of("torch"), **facts)
    if arguments.write:
        write_atomically(arguments.write, [page.encode()])
    else:
        print(page)


def measure(side: int, rounds: int) -> list[Row]:
    """Return a row for augpipe and for each peer; one that is not installed has no ratios."""
    images, labels = make_phantom((1, side, side))
    image, label = images[0], labels[0]
    ours = OURS.make(image, label)
    rows, our_seconds = [], []
    for peer in PEERS:
        try:
            action = peer.make(image, label)
        except ImportError:
            rows.append(Row(peer, 0, []))
            continue
        require_done(peer, action, label)
        turns = [(seconds(ours), seconds(action)) for _ in range(rounds + 1)][1:]
        our_seconds += [our for our, _ in turns]
        rows.append(Row(peer, statistics.median(t for _, t in turns), [their / our for our, their in turns]))
        print(f"{side} px, {peer.name}: {statistics.median(rows[-1].ratios):.2f} times augpipe's", flush=True)
    first = Row(OURS, statistics.median(our_seconds), [1.0] * rounds)
    return [first, *sorted(rows, key=lambda row: row.seconds if row.ratios else float("inf"))]


def seconds(action: Action) -> float:
    start = time.process_time()
    action()
    return time.process_time() - start


def require_done(peer: Peer, action: Action, label: Pixels) -> None:
    """Stop where a peer does not do the job: another size, no change, or labels that the slice has not."""
    made, made_label = (np.squeeze(np.asarray(pixels)) for pixels in action())
    if made.shape != label.shape or made_label.shape != label.shape or np.array_equal(made_label, label):
        raise SystemExit(f"{peer.name}: expected a changed {label.shape}, got {made.shape} and {made_label.shape}")
    if invented := set(np.unique(made_label).tolist()) - set(np.unique(label).tolist()):
        raise SystemExit(f"{peer.name}: expected the slice's labels alone, got also {invented}")


def table(side: int, rows: list[Row], *, differs: bool) -> str:
    """Return the table in Markdown; what each does differently is said once."""
    titles = ["by", "version", "ms", "Mpx/s", "times augpipe's", *(["what it does differently"] if differs else [])]
    lines = [f"## {side} x {side} px\n", f"| {' | '.join(titles)} |", "|---|---|--:|--:|--:|" + "---|" * differs]
    for row in rows:
        cells = [row.peer.name, version_of(row.peer.package), *figures(side, row)]
        lines.append(f"| {' | '.join([*cells, row.peer.differs] if differs else cells)} |")
    return "\n".join(lines) + "\n"


def figures(side: int, row: Row) -> tuple[str, str, str]:
    if not row.ratios:
        return "not installed", "", ""
    low, middle, high = statistics.quantiles(row.ratios, n=4, method="inclusive")
    ratio = "1" if row.peer is OURS else f"{middle:.3g} ({low:.3g} to {high:.3g})"
    return f"{row.seconds * 1e3:.3g}", f"{side * side / row.seconds / 1e6:.3g}", ratio


def version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
