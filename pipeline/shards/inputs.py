"""What a dataset records of the pixels that it was made from: the shape, dtype and digest of every stack."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from pipeline.errors import ConfigError
from pipeline.shards.digest import SHA256

LabelKind: TypeAlias = Literal["binary", "classes", "instances"]
LABEL_KINDS: tuple[LabelKind, ...] = get_args(LabelKind)
MAX_LABEL_VALUE = 65535  # of a label as it is in its file

_MAX_STACKS, _MAX_SLICES = 10**3, 10**5  # what the ids of samples have room for
_MAX_SLICES_IN_ALL = 10**6  # the split of every slice is held in memory


@dataclass(frozen=True, slots=True)
class ImageInput:
    """The images of one stack: array digest, shape (Z, Y, X), dtype."""

    sha256: str
    shape: tuple[int, int, int]
    dtype: str

    def __post_init__(self) -> None:
        _require_array(self.shape, self.sha256)


@dataclass(frozen=True, slots=True)
class LabelInput:
    """The labels of one stack, as they are in the file.

    Attributes:
        sha256: array digest.
        shape: (Z, Y, X).
        dtype: in the file.
        kind: what the values mean.
        values: the value of each class index, in rising order; empty for instances.
    """

    sha256: str
    shape: tuple[int, int, int]
    dtype: str
    kind: LabelKind
    values: tuple[int, ...]

    def __post_init__(self) -> None:
        _require_array(self.shape, self.sha256)
        if any(not 0 <= value <= MAX_LABEL_VALUE for value in self.values):
            raise ConfigError(f"expected label values from 0 to {MAX_LABEL_VALUE}, got {self.values!r:.80}")


@dataclass(frozen=True, slots=True)
class StackInput:
    """What identifies the pixels of one stack."""

    images: ImageInput
    labels: LabelInput

    @property
    def depth(self) -> int:
        """Slices."""
        return self.images.shape[0]

    @property
    def slice_size(self) -> tuple[int, int]:
        """(height, width) of a slice, in pixels."""
        return self.images.shape[1:]


def require_inputs(inputs: Sequence[StackInput]) -> None:
    """Refuse stacks that a dataset cannot have, before anything is made for every slice of them.

    Raises:
        ConfigError: there are none, or too many stacks or slices.
    """
    if not 1 <= len(inputs) <= _MAX_STACKS:
        raise ConfigError(f"inputs: ids have room for 1 to {_MAX_STACKS} stacks, got {len(inputs)}")
    for index, stack in enumerate(inputs):
        if stack.depth > _MAX_SLICES:
            raise ConfigError(
                f"inputs: stack {index}: ids have room for {_MAX_SLICES} slices a stack, got {stack.depth}"
            )
    if (n_slices := sum(stack.depth for stack in inputs)) > _MAX_SLICES_IN_ALL:
        raise ConfigError(f"inputs: expected at most {_MAX_SLICES_IN_ALL} slices in all stacks, got {n_slices}")


def _require_array(shape: tuple[int, int, int], sha256: str) -> None:
    if min(shape) < 1:
        raise ConfigError(f"expected the shape (z, y, x), got {shape!r:.80}")
    if not SHA256.fullmatch(sha256):
        raise ConfigError(f"expected a SHA-256, got {sha256!r:.80}")
