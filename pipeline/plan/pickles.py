"""Pickles, which run whatever they were made to run: known by their first bytes, and never opened."""

from pathlib import Path

from pipeline.errors import ConfigError

_ENDINGS = (".pkl", ".pickle")
_BINARY = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))
_BEGINNINGS = (*_BINARY, b"(lp", b"(dp", b"]q", b"}q", b"ccopy_reg", b"ccollections")  # the others: protocols 0 and 1
_TO_JSON = (
    "import json,pickle;json.dump([{k:list(map(str,v)) for k,v in f.items()} for f in "
    "pickle.load(open('splits_final.pkl','rb'))],open('splits_final.json','w'))"
)


def refuse_pickle(path: Path) -> None:
    """Refuse a pickle, as nnU-Net v1 writes its folds.

    Raises:
        ConfigError: it is one.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        beginning = file.read(max(map(len, _BEGINNINGS)))
    if beginning.startswith(_BEGINNINGS) or path.suffix.lower() in _ENDINGS:
        raise ConfigError(
            f"{path}: is a pickle, as nnU-Net v1 writes its folds; opening one can run any program, so it is not done. "
            f'If it is your own, make splits_final.json of it: python -c "{_TO_JSON}"'
        )
