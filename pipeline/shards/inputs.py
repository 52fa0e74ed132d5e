"""What a dataset records of its stacks' pixels, checked before anything is made for every stack or slice of them."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

from pipeline.errors import ConfigError

LabelKind: TypeAlias = Literal["binary", "classes", "instances"]
LABEL_KINDS: tuple[LabelKind, ...] = get_args(LabelKind)
LARGEST_VALUE = 65535  # of a label as it is in its file

_MOST_STACKS, _MOST_SLICES = 10**3, 10**5  # what the ids of samples have room for
_MOST_SLICES_IN_ALL = 10**6  # the split of every slice is held in memory
_SHA256 = re.compile(r"[0-9a-f]{64}")


def require_inputs(inputs: Sequence[Mapping[str, Any]]) -> None:
    """Refuse stacks that a dataset cannot have.

    Args:
        inputs: what identifies the pixels of each stack, as in dataset.json.

    Raises:
        ConfigError: there are none, or too many stacks or slices, or a value is of another kind.
    """
    if not isinstance(inputs, list) or not 1 <= len(inputs) <= _MOST_STACKS:
        n = len(inputs) if isinstance(inputs, list) else repr(inputs)[:40]
        raise ConfigError(f"inputs: ids have room for 1 to {_MOST_STACKS} stacks, got {n}")
    for index, stack in enumerate(inputs):
        try:
            _require_stack(stack)
        except (ConfigError, LookupError, TypeError) as error:
            raise ConfigError(f"inputs: stack {index}: {error}") from error
    if (n_slices := sum(stack["images"]["shape"][0] for stack in inputs)) > _MOST_SLICES_IN_ALL:
        raise ConfigError(f"inputs: expected at most {_MOST_SLICES_IN_ALL} slices in all stacks, got {n_slices}")


def _require_stack(stack: Mapping[str, Any]) -> None:
    for kind in ("images", "labels"):
        shape, dtype, sha256 = (stack[kind][name] for name in ("shape", "dtype", "sha256"))
        if len(shape) != 3 or any(type(side) is not int or side < 1 for side in shape):
            raise ConfigError(f"expected the shape (z, y, x), got {shape!r:.80}")
        if shape[0] > _MOST_SLICES:
            raise ConfigError(f"ids have room for {_MOST_SLICES} slices a stack, got {shape[0]}")
        if not isinstance(dtype, str) or not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
            raise ConfigError(f"expected the dtype and the SHA-256 of its {kind}, got {dtype!r:.40} and {sha256!r:.80}")
    kind, values = stack["labels"]["kind"], stack["labels"]["values"]
    if kind not in LABEL_KINDS or not isinstance(values, list):
        raise ConfigError(f"expected labels of {', '.join(LABEL_KINDS)} and their values, got {kind!r:.40}")
    if any(type(value) is not int or not 0 <= value <= LARGEST_VALUE for value in values):
        raise ConfigError(f"expected label values from 0 to {LARGEST_VALUE}, got {values!r:.80}")
