"""The whole build, as a process of its own, against the original pipeline run as two processes.

    python tests/benchmarks/bench_build.py SOURCE_FOLDER ORIGINAL_PIPELINE.py [--rounds 5]

The two take turns. The original's throughput is 2 samples per its own seconds a sample, without its start-up; the
build's is n over its whole wall time, start-up, hashing and flushing to the disk included. Peak memory is the
operating system's figure for the build's process.
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


def build(source: Path, n: int, folder: Path) -> tuple[float, float]:
    """Return wall seconds and peak memory in MB of one whole build."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "pipeline.cli", "build", str(source), "--n", str(n), "--out", str(out), "--quiet"]
    start = time.perf_counter()
    process = subprocess.Popen(command)
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
    parser.add_argument("--n", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        build(arguments.source, arguments.n, folder)
        ratios = []
        for _ in range(arguments.rounds):
            seconds, memory_mb = build(arguments.source, arguments.n, folder)
            theirs, ours = original(arguments.original, arguments.source, 4), arguments.n / seconds
            ratios.append(ours / theirs)
            print(
                f"build {seconds:.2f} s, {ours:.0f} samples/s, {memory_mb:.0f} MB; "
                f"original {theirs:.2f} samples/s; ratio {ratios[-1]:.0f}"
            )
        print(f"median ratio {statistics.median(ratios):.0f}, lowest {min(ratios):.0f}, highest {max(ratios):.0f}")
        larger, memory_large_mb = build(arguments.source, 10 * arguments.n, folder)
        print(
            f"n={10 * arguments.n}: {larger:.2f} s, {memory_large_mb:.0f} MB ({memory_large_mb / memory_mb:.2f} times)"
        )


if __name__ == "__main__":
    main()
