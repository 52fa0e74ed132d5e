"""How fast other libraries do the same augmentation, on one core; `peers.py` says what the job is.

    make peers                                  (about five minutes; writes docs/speed.md)

or, in an environment of its own, since the libraries have many of their own:

    pip install -r requirements-peers.txt && pip install --no-deps -e .
    python tests/benchmarks/bench_peers.py --write docs/speed.md

What is counted is processor time, of all threads, with the process bound to one core: the machine's other work then
counts for little. A turn is one sample by augpipe and one by a peer, and what is compared is the two times of a turn;
a round is a turn with every peer.
"""

import argparse
import math
import os
import platform
import statistics
import time
import warnings
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
"Times augpipe's" is how much longer the other takes: the median of {rounds} turns, in each of which both make one
sample; in brackets the quartiles.

{tables}
What is counted is processor time, of all threads, with the process bound to one core of a shared virtual machine
({cpu}; Python {python}, PyTorch {torch}, NumPy {numpy}).
Everyone makes one sample before the one that is timed. What does not depend on the random numbers is done before: the
slice's spline coefficients (augpipe, scipy, elasticdeform) and tensors of float32 (PyTorch). Where a window is larger
than its slice, as in a build from ISBI 2012's, cv2.remap takes longer than here, and augpipe does not:
`tests/benchmarks/bench_kernel.py` measures that.

Measured by `make peers`, that is `python tests/benchmarks/bench_peers.py --write docs/speed.md` in an environment with
`requirements-peers.txt`. `tests/benchmarks/peers.py` has every setting.
"""

Turn = tuple[float, float]  # seconds: augpipe's, the other's


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21, help="turns of each pair (21)")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="the Markdown page to write; else it is printed")
    arguments = parser.parse_args()
    if arguments.rounds < 2:
        parser.error(f"--rounds: expected at least 2, for quartiles, got {arguments.rounds}")
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


def measure(side: int, rounds: int) -> dict[Peer, list[Turn]]:
    """Return every peer's turns, the fastest first; one that is not installed has none and comes last."""
    images, labels = make_phantom((1, side, side))
    image, label = images[0], labels[0]
    actions = {peer: make(peer, image, label) for peer in (OURS, *PEERS)}
    turns: dict[Peer, list[Turn]] = {peer: [] for peer in actions}
    for number in range(rounds):
        print(f"{side} px, round {number + 1} of {rounds}", flush=True)
        for peer, action in actions.items():
            if action:
                ours = seconds(actions[OURS])
                turns[peer].append((ours, ours if peer is OURS else seconds(action)))
    return dict(sorted(turns.items(), key=lambda item: statistics.median(ratios(item[1])) if item[1] else math.inf))


def make(peer: Peer, image: Pixels, label: Pixels) -> Action | None:
    """Return what makes a sample, tried once; None where a library is missing."""
    try:
        action = peer.make(image, label)
    except ImportError:
        return None
    require_done(peer, action, label)
    return action


def ratios(turns: list[Turn]) -> list[float]:
    return [theirs / ours for ours, theirs in turns]


def seconds(action: Action) -> float:
    """Return the processor time of a sample right after another, as in training: the caches hold its own data."""
    action()
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


def table(side: int, measured: dict[Peer, list[Turn]], *, differs: bool) -> str:
    """Return the table in Markdown; what each does differently is said once."""
    titles = ["by", "version", "Mpx/s", "times augpipe's", *(["what it does differently"] if differs else [])]
    lines = [f"## {side} x {side} px\n", f"| {' | '.join(titles)} |", "|---|---|--:|--:|" + "---|" * differs]
    for peer, turns in measured.items():
        cells = [peer.name, version_of(peer.package), *figures(side, peer, turns)]
        lines.append(f"| {' | '.join([*cells, peer.differs] if differs else cells)} |")
    return "\n".join(lines) + "\n"


def figures(side: int, peer: Peer, turns: list[Turn]) -> tuple[str, str]:
    if not turns:
        return "not installed", ""
    speed = f"{side * side / statistics.median(theirs for _, theirs in turns) / 1e6:#.3g}".rstrip(".")
    if peer is OURS:
        return speed, "1"
    quartiles = [f"{value:#.3g}".rstrip(".") for value in statistics.quantiles(ratios(turns), n=4, method="inclusive")]
    return speed, f"{quartiles[1]} ({quartiles[0]} to {quartiles[2]})"


def version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def processor() -> str:
    """Return the processor's name and its widest vectors, as Linux tells them."""
    facts = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
    facts = {name.strip(): value.strip() for name, value in facts.items()}
    vectors = next((name for name in ("avx512f", "avx2") if name in facts.get("flags", "").split()), "no AVX2")
    return f"{facts.get('model name', platform.machine())}, {vectors}"


if __name__ == "__main__":
    main()
