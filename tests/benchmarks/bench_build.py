"""The whole build, as a process of its own, against the original pipeline run as two processes.

    python tests/benchmarks/bench_build.py SOURCE_FOLDER ORIGINAL_PIPELINE.py [--rounds 7] [--n 2,300,3000]
                                           [--before CHECKOUT]

All take turns. The original's throughput is 2 samples per its own seconds a sample, without its start-up; the build's
is n over its whole wall time, start-up, hashing and flushing to the disk included. Peak memory is the operating
system's figure for the build's process. `--before` names a checkout of an earlier commit, to be measured in turn with
this one, by the same interpreter.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parents[2]


def build(checkout: Path, source: Path, n: int, folder: Path) -> tuple[float, float]:
    """Return wall seconds and peak memory in MB of one whole build."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "pipeline.cli", "build", str(source), "--n", str(n), "--out", str(out), "--quiet"]
    start = time.perf_counter()
    # -m finds the packages there first; an installed package has its bytecode, so these may write theirs
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(command, cwd=checkout, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"the build failed: {' '.join(command)}")
    return seconds, usage.ru_maxrss / 1024


def original(script: Path, source: Path, n: int) -> float:
    """Return the samples a second that two processes of the original pipeline make together."""
    command = [sys.executable, str(script), str(source), "--n", str(n), "--rotate"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    return sum(1 / float(process.communicate()[0]) for process in running)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("original", type=Path)
    parser.add_argument("--n", default="2,300,3000")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--before", type=Path)
    arguments = parser.parse_args()
    source, script = arguments.source.resolve(), arguments.original.resolve()
    checkouts = {"now": HERE, **({"before": arguments.before.resolve()} if arguments.before else {})}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for checkout in checkouts.values():
            build(checkout, source, 2, folder)  # what has to be compiled is compiled
        for n in map(int, arguments.n.split(",")):
            seconds: dict[str, list[float]] = {name: [] for name in checkouts}
            ratios: dict[str, list[float]] = {name: [] for name in checkouts}
            for _ in range(arguments.rounds):
                memory_mb = {}
                for name, checkout in checkouts.items():
                    took, memory_mb[name] = build(checkout, source, n, folder)
                    seconds[name].append(took)
                theirs = original(script, source, 4)
                for name in checkouts:
                    ratios[name].append(n / seconds[name][-1] / theirs)
            for name, found in ratios.items():
                print(
                    f"n={n} {name}: median {statistics.median(seconds[name]):.2f} s, {memory_mb[name]:.0f} MB; "
                    f"{statistics.median(found):.0f} times the original ({min(found):.0f} to {max(found):.0f})"
                )
            if "before" in seconds:
                shares = [now / before for now, before in zip(seconds["now"], seconds["before"], strict=True)]
                print(
                    f"n={n}: {statistics.median(shares):.2f} of the time before, {min(shares):.2f} to {max(shares):.2f}"
                )


if __name__ == "__main__":
    main()
