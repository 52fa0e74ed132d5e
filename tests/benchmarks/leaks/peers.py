"""What other means of finding duplicates say of two folders: `python peers.py TRAIN TEST` prints it as JSON.

Runs in an environment of its own, and imports nothing of augpipe. Peers that are not installed are null. Each yields,
for every test picture, how near the nearest training picture is:

    pip install numpy opencv-contrib-python-headless scipy imagehash pdqhash "perception[approximate-deduplication]"

fastdup, which is for non-commercial use only, is asked where it is installed, too.

Peers get pictures of 8 bits, each spread between its own dark and bright ends, as augpipe's audit looks at them.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

Bytes = NDArray[np.uint8]
Pictures = Mapping[str, Bytes]
Scores = dict[str, float]

_HASHES = {"pHash": "phash", "dHash": "dhash", "wHash": "whash", "aHash": "average_hash"}
_PADDED = 256  # pixels of the transform; pictures are correlated at half the resolution
_MIN_OVERLAP = 0.1  # of a picture
_TRIED = 3  # of the places where phases agree best, so many are looked at


@dataclass(frozen=True, slots=True)
class Peer:
    """One other means.

    Attributes:
        score: of (train, test), for each test picture, how near its nearest training picture is.
        usual: from where on its makers take two pictures for the same.
        is_distance: whether smaller is nearer.
    """

    score: Callable[[Pictures, Pictures], Scores]
    usual: float
    is_distance: bool


def _hashes(name: str) -> Callable[[Pictures, Pictures], Scores]:
    def score(train: Pictures, test: Pictures) -> Scores:
        import imagehash
        from PIL import Image

        function = getattr(imagehash, name)
        known = [function(Image.fromarray(picture)) for picture in train.values()]
        own = {file: function(Image.fromarray(picture)) for file, picture in test.items()}
        return {file: float(min(one - other for other in known)) for file, one in own.items()}

    return score


def _pdq(train: Pictures, test: Pictures) -> Scores:
    """Return the distance of 256 bits, of the eight ways that a picture can lie the nearest."""
    import pdqhash

    known = np.stack([pdqhash.compute(cv2.cvtColor(each, cv2.COLOR_GRAY2RGB))[0] for each in train.values()])
    scores = {}
    for file, picture in test.items():
        ways, _ = pdqhash.compute_dihedral(cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB))
        scores[file] = float(min((known != way).sum(axis=1).min() for way in ways))
    return scores


def _sift(train: Pictures, test: Pictures) -> Scores:
    """Return how many matches one similarity explains: the recipe of OpenCV's tutorial on feature matching."""
    sift = cv2.SIFT_create(500)
    known = [_described(sift, picture) for picture in train.values()]
    return {file: _most_inliers(_described(sift, picture), known) for file, picture in test.items()}


def _described(sift: Any, picture: Bytes) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    points, descriptors = sift.detectAndCompute(picture, None)
    found = np.zeros((0, 128), np.float32) if descriptors is None else descriptors
    return np.array([point.pt for point in points], np.float32).reshape(-1, 2), found


def _most_inliers(own: tuple[Any, Any], known: list[tuple[Any, Any]]) -> float:
    most = 0
    for points, descriptors in known:
        if min(len(points), len(own[0])) < 2:
            continue
        here, there = _matches(own[1], descriptors)
        if len(here) < 4:
            continue
        _, inliers = cv2.estimateAffinePartial2D(own[0][here], points[there], ransacReprojThreshold=5.0, maxIters=500)
        most = max(most, 0 if inliers is None else int(inliers.sum()))
    return float(most)


def _matches(own: NDArray[np.float32], other: NDArray[np.float32]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the matches whose distance is below 0.75 of that to the second nearest (Lowe 2004)."""
    squares = np.square(other).sum(axis=1) - 2.0 * (own @ other.T) + np.square(own).sum(axis=1)[:, None]
    rows, best = np.arange(len(own)), squares.argmin(axis=1)
    first = squares[rows, best]
    squares[rows, best] = np.inf
    good = np.flatnonzero(first < 0.75**2 * squares.min(axis=1))
    return good, best[good]


def _perception(train: Pictures, test: Pictures) -> Scores:
    """Return 1 for what perception's local descriptors take for a duplicate with its own settings, else 0."""
    from perception import local_descriptor_deduplication as local

    with tempfile.TemporaryDirectory() as temporary:
        known = local.build_reference_df(_written(train, Path(temporary) / "train"))
        queries = local.build_reference_df(_written(test, Path(temporary) / "test"))
        enough = all(frame["descriptors"].notna().any() for frame in (known, queries))
        pairs = local.deduplicate_dfs(known, query_df=queries, use_gpu=False, max_workers=1) if enough else []
    found = {Path(query).name for query, *_ in pairs}
    return {file: float(file in found) for file in test}


def _fastdup(train: Pictures, test: Pictures) -> Scores:
    """Return the cosine of what fastdup's network, which lies in its package, makes of the pictures."""
    os.environ["SENTRY_OPT_OUT"] = "1"  # it reports its use else
    import fastdup

    with tempfile.TemporaryDirectory() as temporary:
        files = [*_written(train, Path(temporary) / "train"), *_written(test, Path(temporary) / "test")]
        (listed := Path(temporary) / "files.txt").write_text("\n".join(files))
        work = Path(temporary) / "work"
        fastdup.run(str(listed), work_dir=str(work), num_threads=1, run_mode=1)
        stored, features = fastdup.load_binary_feature(str(work / "atrain_features.dat"))
    unit = np.asarray(features) / np.linalg.norm(features, axis=1, keepdims=True)
    of = dict(zip(stored, unit, strict=True))
    known = np.stack([of[file] for file in files[: len(train)]])
    return {Path(file).name: float((known @ of[file]).max()) for file in files[len(train) :]}


def _written(pictures: Pictures, folder: Path) -> list[str]:
    """Write pictures into a new folder, and return their paths."""
    folder.mkdir()
    for file, picture in pictures.items():
        cv2.imwrite(str(folder / file), picture)
    return [str(folder / file) for file in pictures]


def _correlation(train: Pictures, test: Pictures) -> Scores:
    """Return the correlation at the shift, and of the four quarter turns, where the phases agree best."""
    known = [_halved(picture) for picture in train.values()]
    phases = np.stack([_phases(picture) for picture in known])
    return {file: _best_correlation(_halved(picture), known, phases) for file, picture in test.items()}


def _halved(picture: Bytes) -> NDArray[np.float32]:
    small = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.asarray(small[:_PADDED, :_PADDED], np.float32)


def _phases(picture: NDArray[np.float32]) -> NDArray[np.complex64]:
    window = np.outer(np.hanning(picture.shape[0]), np.hanning(picture.shape[1])).astype(np.float32)
    spectrum = fft.rfft2((picture - picture.mean()) * window, (_PADDED, _PADDED))
    return np.asarray(spectrum / np.maximum(np.abs(spectrum), 1e-6), np.complex64)


def _best_correlation(
    picture: NDArray[np.float32], known: list[NDArray[np.float32]], phases: NDArray[np.complex64]
) -> float:
    places = []
    for turn in range(4):
        turned = np.ascontiguousarray(np.rot90(picture, turn))
        surface = fft.irfft2(phases * np.conj(_phases(turned)), (_PADDED, _PADDED)).reshape(len(known), -1)
        at = surface.argmax(axis=1)
        places += [(float(surface[k, at[k]]), turn, k, int(at[k])) for k in range(len(known))]
    best = 0.0
    for _, turn, k, place in sorted(places, reverse=True)[:_TRIED]:
        for y in (place // _PADDED, place // _PADDED - _PADDED):
            for x in (place % _PADDED, place % _PADDED - _PADDED):
                best = max(best, _overlap_correlation(np.rot90(picture, turn), known[k], y, x))
    return best


def _overlap_correlation(one: NDArray[np.float32], other: NDArray[np.float32], y: int, x: int) -> float:
    """Return the correlation where both are, of one laid over the other at y and x; 0 where that is too little."""
    there = other[max(y, 0) : y + one.shape[0], max(x, 0) : x + one.shape[1]] if y > -other.shape[0] else other[:0]
    here = one[max(-y, 0) :, max(-x, 0) :][: there.shape[0], : there.shape[1]]
    there = there[: here.shape[0], : here.shape[1]]
    if here.size < _MIN_OVERLAP * min(one.size, other.size) or min(here.std(), there.std(), here.size) < 1e-3:
        return 0.0
    return float(np.corrcoef(here.ravel(), there.ravel())[0, 1])


PEERS = {
    **{name: Peer(_hashes(function), 10, is_distance=True) for name, function in _HASHES.items()},
    "PDQ": Peer(_pdq, 31, is_distance=True),
    "fastdup": Peer(_fastdup, 0.9, is_distance=False),
    "perception": Peer(_perception, 1, is_distance=False),
    "SIFT": Peer(_sift, 10, is_distance=False),
    "correlation": Peer(_correlation, 0.7, is_distance=False),
}


PACKAGES = ("numpy", "opencv-contrib-python-headless", "scipy", "imagehash", "pdqhash", "perception", "fastdup")


def read(folder: Path) -> dict[str, Bytes]:
    """Return the pictures of a folder, by the names of their files, in 8 bits."""
    return {path.name: _to_bytes(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)) for path in sorted(folder.glob("*.png"))}


def _to_bytes(picture: NDArray[Any]) -> Bytes:
    if picture.dtype == np.uint8:
        return picture
    low, high = np.percentile(picture, (0.1, 99.9))
    spread = (picture.astype(np.float32) - low) * 255.0 / max(high - low, 1e-6)
    return np.clip(spread, 0, 255).astype(np.uint8)


def main() -> None:
    """Print every peer's scores, or null where it is not installed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("out", type=Path, help="a JSON file")
    arguments = parser.parse_args()
    cv2.setRNGSeed(0)
    cv2.setNumThreads(1)
    train, test = read(arguments.train), read(arguments.test)
    scores: dict[str, Scores | None] = {}
    for name, peer in PEERS.items():
        try:
            scores[name] = peer.score(train, test)
        except ImportError:
            scores[name] = None
    arguments.out.write_text(json.dumps({"scores": scores, "versions": _versions()}))


def _versions() -> dict[str, str]:
    """Return the versions of the packages that are installed, of those that peers need."""
    found = {}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


if __name__ == "__main__":
    main()
