"""Damaged PNG, JPEG, HDF5 and Zarr inputs by the thousand: each is a typed error, or what another library reads of it.

Every input is read in a process of its own, which ends after five seconds and whose memory is measured:

    python tests/pipeline/source/mutated_inputs.py --n 3000
"""

import argparse
import io
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from zarr_zoo import write_image

from pipeline.errors import AugpipeError
from pipeline.source.pages.formats import open_file

MAX_SECONDS, MAX_BYTES = 5, 1 << 30
STACK = np.cumsum(np.random.default_rng(3).integers(-9, 10, (5, 40, 52)), axis=2).astype(np.uint16)
PAGE = (STACK[0] & 255).astype(np.uint8)
NUMBERS = (0, 1, -1, 2, 7, 255, 256, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
VALUES: tuple[Any, ...] = (*NUMBERS, 10**30, 1.5, None, True, "", "zyx", "../..", [], {}, [1], [10**9] * 3)


class Kind(NamedTuple):
    """A kind of input: what writes a whole one, for a number; and what another library reads of it, raising at will."""

    write: Callable[[Path, int], Path]
    peer: Callable[[Path], NDArray[Any]]


def write_picture(path: Path, number: int, *, kind: str) -> Path:
    """Write a picture, with the options of that number."""
    colour = kind == "JPEG" and number % 2
    pixels = np.stack([PAGE, PAGE[::-1], PAGE // 2], axis=2) if colour else PAGE
    options: list[dict[str, Any]] = [{}, {"progressive": True}, {"restart_marker_rows": 1}]
    file = path / f"page.{kind.lower()}"
    if kind == "PNG" and number % 3 == 0:
        Image.fromarray(STACK[0].astype(np.uint16)).save(file)
    else:
        Image.fromarray(pixels).save(file, kind, **(options[number % 3] if kind == "JPEG" else {}))
    return file


def write_hdf5(path: Path, number: int) -> Path:
    """Write an HDF5 file, with the options of that number."""
    filters: list[dict[str, Any]] = [
        {},
        {"chunks": (2, 16, 32)},
        {"chunks": (2, 16, 32), "compression": "gzip", "shuffle": True},
        {"chunks": (2, 16, 32), "compression": "lzf", "fletcher32": True},
    ]
    with h5py.File(path / "stack.h5", "w", libver="latest" if number % 2 else "earliest") as file:
        array = file.create_dataset("volumes/raw", data=STACK, **filters[number // 2 % 4])
        array.attrs["axes"] = "zyx"
        array.attrs["resolution"] = (40.0, 4.0, 4.0)
    return path / "stack.h5"


def write_zarr(path: Path, number: int) -> Path:
    """Write an image of OME-Zarr, of either version."""
    return write_image(path / "stack.zarr", STACK, "zyx", (2, 16, 32), version=2 + number % 2)


def peer_picture(path: Path) -> NDArray[Any]:
    """Return what Pillow reads of a picture."""
    return np.array(Image.open(io.BytesIO(path.read_bytes())))[None]


def peer_hdf5(path: Path) -> NDArray[Any]:
    """Return what h5py reads of the only array."""
    with h5py.File(path, "r") as file:
        found: list[h5py.Dataset] = []
        file.visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
        return np.asarray(found[0][()])


def peer_zarr(path: Path) -> NDArray[Any]:
    """Return what the zarr library reads of the full resolution."""
    import zarr

    group = zarr.open_group(str(path), mode="r")
    told: Any = group.attrs.get("ome", group.attrs)
    return np.asarray(group[told["multiscales"][0]["datasets"][0]["path"]][...])  # type: ignore[index]


KINDS = {
    "PNG": Kind(partial(write_picture, kind="PNG"), peer_picture),
    "JPEG": Kind(partial(write_picture, kind="JPEG"), peer_picture),
    "HDF5": Kind(write_hdf5, peer_hdf5),
    "Zarr": Kind(write_zarr, peer_zarr),
}


def mutate(data: bytes, random: Random) -> bytes:
    """Return bytes of which some are others, missing, or there twice."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        if not changed:
            break
        place, n = random.randrange(len(changed)), random.choice((1, 2, 4, 8, 64))
        match random.randrange(7):
            case 0:
                changed[place] ^= 1 << random.randrange(8)
            case 1:
                changed[place] = random.choice((0, 1, 127, 128, 254, 255))
            case 2:
                number = random.choice(NUMBERS) % 2 ** (8 * min(n, 8))
                changed[place : place + n] = number.to_bytes(n, random.choice(("little", "big")))
            case 3:
                del changed[place:]
            case 4:
                del changed[place : place + n]
            case 5:
                changed[place:place] = changed[place : place + n]
            case _:
                changed[place:place] = random.randbytes(n)
    return bytes(changed)


def mutate_json(data: bytes, random: Random) -> bytes:
    """Return JSON of which one value is another."""
    values = json.loads(data)
    parents: list[tuple[Any, Any]] = []

    def visit(value: Any) -> None:
        for key in value if isinstance(value, dict) else range(len(value)):
            parents.append((value, key))
            if isinstance(value[key], dict | list):
                visit(value[key])

    visit(values)
    if parents:
        parent, key = random.choice(parents)
        parent[key] = random.choice(VALUES)
    return json.dumps(values).encode()


def damage(path: Path, random: Random) -> None:
    """Damage a file, or one of those in a folder."""
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    file = random.choice(files)
    data = file.read_bytes()
    is_json = file.name.startswith(".z") or file.suffix == ".json"
    file.write_bytes(mutate_json(data, random) if is_json and random.random() < 0.7 else mutate(data, random))


def read(path: Path) -> NDArray[Any] | str:
    """Return the slices of an input, or `refused`."""
    try:
        return np.stack(list(open_file(path, labels=False)))
    except AugpipeError as error:
        return "refused" if "\n" not in str(error) else f"several lines: {error}"


def judge(found: NDArray[Any] | str, path: Path, whole: NDArray[Any], peer: Callable[[Path], NDArray[Any]]) -> str:
    """Return `refused`, `whole`, or `as by another library`; anything else is a fault."""
    if isinstance(found, str):
        return found
    if found.shape == whole.shape and np.array_equal(found, whole):
        return "whole"
    try:
        expected = peer(path)
    except Exception as error:  # noqa: BLE001  # whatever another library raises
        return f"read, but not by another library: {type(error).__name__} {error}"
    return "as by another library" if np.array_equal(found, expected) else "other pixels than another library reads"


class Verdict(NamedTuple):
    """What became of one input."""

    words: str
    seconds: float
    n_bytes: int

    @property
    def is_fault(self) -> bool:
        """Whether it is what it must not be."""
        right = self.words in ("refused", "whole", "as by another library")
        return not right or self.seconds > MAX_SECONDS or self.n_bytes > MAX_BYTES


def in_a_process(work: Callable[[], Any], say: Callable[[Any], str] = str) -> Verdict:
    """Return what is said of the outcome of some work in a process of its own, which is ended if it takes too long."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        begin, held = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # that of its parent
        signal.alarm(MAX_SECONDS + 1)
        try:
            outcome = work()
        except BaseException as error:  # noqa: BLE001  # what is no typed error is a fault
            outcome, say = f"{type(error).__name__}: {error}", str
        seconds = time.monotonic() - begin
        signal.alarm(60)  # another library may take its time
        os.write(writer, f"{seconds:.3f} {held} {say(outcome)}".encode("utf-8", "replace")[:4000])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told, _, rest = pipe.read().decode("utf-8", "replace").partition(" ")
    _, status, usage = os.wait4(child, 0)
    before, _, words = rest.partition(" ")
    if not os.WIFEXITED(status):
        told, before, words = f"{MAX_SECONDS + 1}", "0", f"ended by signal {os.WTERMSIG(status)}"
    unit = 1 if sys.platform == "darwin" else 1024
    return Verdict(words, float(told), max(0, usage.ru_maxrss - int(before)) * unit)


def campaign(name: str, n: int, folder: Path, *, seed: int = 0) -> Iterator[tuple[int, Verdict]]:
    """Yield the verdict on each of n damaged inputs of one kind; the files of a fault are kept in the folder."""
    kind = KINDS[name]
    for number in range(n):
        random, place = Random(f"{seed} {name} {number}"), folder / f"{name}-{number}"
        place.mkdir()
        path = kind.write(place, number)
        whole = np.stack(list(open_file(path, labels=False)))
        damage(path, random)
        verdict = in_a_process(partial(read, path), partial(judge, path=path, whole=whole, peer=kind.peer))
        if not verdict.is_fault:
            shutil.rmtree(place)
        yield number, verdict


def main() -> int:
    """Run the campaign and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=3000, help="inputs of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="mutated-"))
    n_faults = 0
    for name in options.kinds:
        counts: Counter[str] = Counter()
        seconds, n_bytes = 0.0, 0
        for number, verdict in campaign(name, options.n, folder, seed=options.seed):
            seconds, n_bytes = max(seconds, verdict.seconds), max(n_bytes, verdict.n_bytes)
            counts["fault" if verdict.is_fault else verdict.words] += 1
            if verdict.is_fault:
                n_faults += 1
                print(f"{name}-{number}: {verdict.words} ({verdict.seconds:.1f} s, {verdict.n_bytes >> 20} MiB)")
        listed = ", ".join(f"{count} {words}" for words, count in counts.most_common())
        print(f"{name}: {options.n} inputs: {listed}; at most {seconds:.2f} s and {n_bytes >> 20} MiB", flush=True)
    print(f"{n_faults} faults{f', kept in {folder}' if n_faults else ''}")
    return 1 if n_faults else 0


if __name__ == "__main__":
    sys.exit(main())
