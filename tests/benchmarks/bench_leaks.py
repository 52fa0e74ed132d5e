"""How many leaks of which kind are found, by the audit and by others, and how many false alarms are raised?

    python tests/benchmarks/bench_leaks.py --isbi DIR --bbbc039 DIR --write docs/leaks.md       (`make leaks`)
    python tests/benchmarks/bench_leaks.py --isbi DIR --pairs                                    millions of pairs

Each run is kept as a JSON file in --work; what is there is not done again. Where a set that does not leak raises an
alarm, its pictures are kept in WORK/false-alarms. The peers are asked in the Python that --peers-python names, which
needs what `leaks/peers.py` says; those that it lacks have no figures.
"""

import argparse
import sys
from pathlib import Path

from leaks.runs import Settings, clean_runs, kind_runs, pair_runs, peer_runs, run_all, tissues_of
from leaks.tables import document, missed

from pipeline.files import write_atomically


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--isbi", type=Path, help="folder with train-volume.tif and test-volume.tif")
    parser.add_argument("--bbbc039", type=Path, help="folder with fields of view, as TIFF")
    parser.add_argument("--work", type=Path, default=Path("runs/leaks"), help="folder of results (runs/leaks)")
    parser.add_argument("--pairs", action="store_true", help="look at millions of pairs, too")
    parser.add_argument("--parts", default="kinds,clean,peers", help="of kinds, clean, peers (all three)")
    parser.add_argument("--only", default="", help="only runs whose names contain this")
    parser.add_argument("--n", type=int, help="leaks of each kind (20, and 10 of all tissues but the first)")
    parser.add_argument("--jobs", type=int, default=-1)
    parser.add_argument("--peers-python", default=sys.executable, help="the Python of the peers; '' leaves them out")
    parser.add_argument("--write", type=Path, help="the page to write, from all results in --work")
    arguments = parser.parse_args()
    settings = Settings(
        work=arguments.work,
        isbi=arguments.isbi,
        bbbc039=arguments.bbbc039,
        peers_python=arguments.peers_python or None,
        n_leaks=arguments.n,
        jobs=arguments.jobs,
        only=arguments.only,
    )
    tissues = tissues_of(settings)
    parts = [part for part in arguments.parts.split(",") if part] + ["pairs"] * arguments.pairs
    for part in parts:
        runs = {"kinds": kind_runs, "clean": clean_runs, "peers": peer_runs, "pairs": pair_runs}[part]
        run_all(runs(settings, tissues), settings, at_once=2 if part == "peers" else 1)  # a peer uses one core
    if arguments.write:
        write_atomically(arguments.write, [document(arguments.work).encode()])
    for line in missed(arguments.work):
        print(f"missed, {line}")


if __name__ == "__main__":
    main()
