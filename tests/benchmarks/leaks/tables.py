"""The tables of the benchmark, in Markdown, from the results that are kept."""

import json
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from leaks.kinds import KINDS
from leaks.peers import PEERS
from leaks.runs import N_TRAIN, results
from scipy import stats

Result = Mapping[str, Any]
_FAIR_PX = 256  # peers' best thresholds are set on clean sets of pictures from this size on, which is in their favour


def upper_bound(n_false: int, n: int) -> float:
    """Return the one-sided 95 % bound of a rate (Clopper and Pearson 1934); 3 / n where nothing was found."""
    return float(stats.beta.ppf(0.95, n_false + 1, n - n_false)) if n_false < n else 1.0


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Return the lines of a table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines]


def best_thresholds(clean: Sequence[Result], tissue: str) -> dict[str, float]:
    """Return, for each peer, the score that no clean picture of this tissue goes beyond."""
    fair = [each for each in clean if each["tissue"] == tissue and each["group"] == "tissue"]
    fair = [each for each in fair if each["size_px"] >= _FAIR_PX]
    limits = {}
    for name, peer in PEERS.items():
        scores = [score for each in fair for score in (each["peers"].get(name) or {}).values()]
        if scores:
            limits[name] = min(scores) if peer.is_distance else max(scores)
    return limits


def _flagged(name: str, scores: Sequence[float]) -> int:
    """Return how many pictures a peer calls duplicates, as its makers set it."""
    peer = PEERS[name]
    return sum(score <= peer.usual if peer.is_distance else score >= peer.usual for score in scores)


def _beyond(name: str, scores: Sequence[float], limit: float) -> int:
    """Return how many pictures are nearer to a training picture than any clean one."""
    return sum(score < limit if PEERS[name].is_distance else score > limit for score in scores)


def kinds_table(work: Path, tissue: str) -> list[str]:
    """Return the table of leaks found, a row for each kind."""
    limits = best_thresholds(results(work, "clean"), tissue)
    batches = [each for each in results(work, "kinds") if each["tissue"] == tissue]
    found = {row["kind"]: {**row, "scores": each["peers"]} for each in batches for row in each["rows"]}
    for each in results(work, "sourced"):
        for row in each["rows"] if each["tissue"] == tissue else ():
            found[row["kind"]]["n_sourced"] = row["n_found"]
    rows = [found[kind.name] for kind in KINDS if kind.name in found]
    counted = [*([row] for row in rows), rows]
    names = [*(row["kind"] for row in rows), "**all**"]
    return table(
        ["leak", "n", "augpipe", "with the source", *PEERS],
        [[name, *_found(some, limits)] for name, some in zip(names, counted, strict=True)],
    )


def _found(rows: Sequence[Result], limits: Mapping[str, float]) -> Iterator[str]:
    """Yield how many leaks there are in some rows, and how many of them everybody finds; "-" where it was not asked."""
    yield str(sum(len(row["files"]) for row in rows))
    yield str(sum(row["n_found"] for row in rows))
    yield str(sum(row["n_sourced"] for row in rows)) if all("n_sourced" in row for row in rows) else "-"
    for peer in PEERS:
        if any(row["scores"].get(peer) is None for row in rows):
            yield "-"
            continue
        scores = [row["scores"][peer][file] for row in rows for file in row["files"]]
        best = _beyond(peer, scores, limits[peer]) if peer in limits else "?"
        yield f"{_flagged(peer, scores)} ({best})"


def _rank(clean: Result) -> tuple[Any, ...]:
    """Return what clean sets are sorted by: tissue, then furniture, then the smaller pictures first."""
    return clean["tissue"], clean["group"] != "tissue", clean["name"].rsplit(",", 1)[0], clean["size_px"]


def clean_table(work: Path) -> list[str]:
    """Return the table of what is said of pictures that do not leak."""
    lines = []
    for each in sorted(results(work, "clean"), key=_rank):
        source = each["with_source"]["verdict"] if each["with_source"] else ""
        scores = [each["peers"].get(peer) for peer in PEERS]
        others = [
            "-" if own is None else _flagged(peer, [*own.values()]) for peer, own in zip(PEERS, scores, strict=True)
        ]
        lines.append([each["name"], each["n_test"], each["audit"]["verdict"], source, each["n_false"], *others])
    return table(["pictures", "test", "verdict", "with the source", "false alarms", *PEERS], lines)


def pairs_table(work: Path) -> list[str]:
    """Return the table of false alarms over pairs, with the bound of their rate."""
    done = results(work, "pairs")
    rows = [[each["name"], each["n_train"], each["n_test"], f"{each['n_pairs']:,}", each["n_false"]] for each in done]
    clean = results(work, "clean")
    honest = [each for each in clean if each["group"] == "tissue"]
    n_honest = sum(each["n_train"] * each["n_test"] for each in honest)
    rows.append(["clean sets of tissue, above", "", "", f"{n_honest:,}", sum(each["n_false"] for each in honest)])
    n = n_honest + sum(each["n_pairs"] for each in done)
    n_false = sum(row[-1] for row in rows)
    bound = f"{n_false}; 95 % bound of the rate {upper_bound(n_false, n):.1e}" if n else "0"
    rows.append(["**all**", "", "", f"{n:,}", bound])
    return table(["pictures", "train", "test", "pairs", "false alarms"], rows)


def missed(work: Path) -> list[str]:
    """Return which leaks were missed without the source, kind by kind."""
    return [
        f"{each['tissue']}: {', '.join(row['missed'])}"
        for each in results(work, "kinds")
        for row in each["rows"]
        if row["missed"]
    ]


def document(work: Path) -> str:
    """Return the whole page."""
    parts = ["# How well are leaks found?", "", *_INTRODUCTION, ""]
    n_kinds = Counter(each["tissue"] for each in results(work, "kinds") for _ in each["rows"])
    for tissue, _ in n_kinds.most_common():
        parts += [f"## Leaks found: {tissue}", "", *kinds_table(work, tissue), ""]
    parts += ["## Pictures that do not leak", "", *_CLEAN, "", *clean_table(work), ""]
    parts += ["## False alarms over pairs", "", *_PAIRS, "", *pairs_table(work), ""]
    parts += ["## How it was measured", "", *_METHOD, *_versions(work), ""]
    return "\n".join(parts)


def _versions(work: Path) -> Iterator[str]:
    """Yield the line that names the packages of the peers."""
    said = [json.loads(path.read_text())["versions"] for path in sorted((work / "peers").glob("*/*.json"))]
    different = sorted({f"{package} {version}" for each in said for package, version in each.items()})
    if different:
        yield from textwrap.wrap(f"- **Their versions.** {', '.join(different)}.", 118, subsequent_indent="  ")


_INTRODUCTION = (
    f"For each kind of leak, {N_TRAIN} training pictures and 20 test pictures (10 for BBBC039 and the phantom) that",
    "show tissue of training pictures, changed in one way. The numbers are how many of these are found: by `augpipe",
    "audit --train DIR --test DIR`, by the same with `--source`, and by other means of finding duplicates. Of those,",
    "the first number is with the threshold that their makers or their tutorials give, and the one in brackets with",
    "the best threshold that raises no false alarm on the clean sets of the same tissue. `make leaks` measures it all.",
)
_CLEAN = (
    "What an audit says of sets in which no test picture shows tissue that was trained on. NOT PROVEN means that some",
    "pictures show too little to be compared, which is not an alarm. The last columns count the test pictures that the",
    "other means call duplicates at their usual thresholds.",
)
_PAIRS = (
    "Test pictures looked up among training pictures of other tissue. Pictures of one block are cut at random from the",
    "same slices, so that pairs overlap and are not independent; only the phantom's come from 250 tissues. With 2,000",
    "training pictures the audit compares fewer features of each than with 40. The bound is one-sided (Clopper and",
    "Pearson 1934).",
)
_METHOD = (
    "- **Who made the leaks.** A renderer of the benchmark's own (`tests/benchmarks/leaks/`), from NumPy, SciPy and",
    "  OpenCV; it shares no code with `augment`.",
    "- **Tissue.** ISBI 2012: training pictures of 384 px from every second section of `train-volume.tif`; what is",
    "  mixed in, and honest test pictures, from `test-volume.tif`. BBBC039: four fields against four others, 16 bits.",
    "  Phantom: two seeds. Training pictures for overlaps are as large as a quarter of a section and lie in its left",
    "  half.",
    "- **augpipe.** A leak is found where P001, P002 or P007 names it. Several kinds lie in one test folder, which",
    "  changes nothing for the single picture: each is compared with the training pictures and the source alone.",
    "- **Others.** pHash, dHash, wHash and aHash are those of the package ImageHash, 64 bits, alike at a distance of",
    "  10 or less, as in imagededup. PDQ: 256 bits, 31 or less, of the eight ways that a picture can lie the nearest.",
    "  perception: its local descriptors (SIFT) as its makers set them. SIFT: OpenCV's recipe: 500 features, ratio",
    "  test 0.75, one similarity by RANSAC, 10 inliers. Correlation: the best shift by phase correlation at half the",
    "  resolution and four quarter turns, then the correlation of what overlaps, 0.7. fastdup: the cosine of its",
    "  network's features, 0.9; its licence is for non-commercial use, so that `make leaks` does not install it. Best",
    "  thresholds are set on clean sets of 256 px and above, which is in their favour. Networks whose weights are",
    "  downloaded at run time, such as imagededup's, are left out.",
)
