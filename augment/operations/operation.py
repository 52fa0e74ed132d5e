"""What all operations on gray levels have in common."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from augment.errors import RecipeError

if TYPE_CHECKING:
    from augment.operations.drawing import Drawing


@dataclass(frozen=True, slots=True)
class Operation:
    """What one sample's recipe says of an operation: every number that is needed, reals as float32 values.

    A field of one number a channel has one alone where all channels have the same.

    Attributes:
        stream: first part of the key of the streams that it is drawn from; no two operations have the same.
        limits: the lowest and the highest strength that may be asked for.
        off: the strength that changes nothing.
        whole: the fields that are whole numbers, or true or false.
    """

    stream: ClassVar[int]
    limits: ClassVar[tuple[float, float]]
    off: ClassVar[float]
    whole: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def draw(cls, strength: tuple[float, float], drawing: "Drawing") -> "Operation":
        """Return what a sample gets, of a strength between two numbers."""
        raise NotImplementedError

    def text(self) -> str:
        """Return in a few words what the sample gets."""
        raise NotImplementedError

    def beside(self, distance: int) -> "Operation | None":
        """Return what the slice so many slices away gets, where a sample shows it as context; None: nothing.

        What belongs to the light, the lens or the stain is the same for all slices of a sample.
        """
        del distance
        return self

    def reals(self) -> tuple[float, ...]:
        """Return all numbers that must be float32 values."""
        return tuple(_leaves([value for name, value in asdict(self).items() if name not in self.whole]))

    @classmethod
    def from_json(cls, name: str, values: Any) -> "Operation":
        """Return the operation that plain JSON values describe, as `dataclasses.asdict` gives them.

        Raises:
            RecipeError: a key is missing or unknown, or a number is out of range.
            TypeError: a value has the wrong type.
        """
        expected = sorted(each.name for each in fields(cls))
        if not isinstance(values, Mapping) or sorted(map(str, values)) != expected:
            raise RecipeError(f"recipe: {name} must have the keys {expected}, got {values!r:.80}")
        return cls(**{key: _as_tuples(value, whole=key in cls.whole) for key, value in values.items()})


def each_text(values: tuple[float, ...]) -> str:
    """Return the numbers of all channels, or the one of all, to be read."""
    return ", ".join(f"{value:.3g}" if value < 1000 else f"{value:.0f}" for value in values)


def require_whole(where: str, value: Any, low: int, high: int) -> None:
    """Refuse what is no whole number between two others, both included.

    Raises:
        RecipeError: it is not.
    """
    if type(value) is not int or not low <= value <= high:
        raise RecipeError(f"recipe: {where} must be from {low} to {high}, got {value!r:.80}")


def require_each(where: str, values: Any, low: float, high: float, *, n: int | None = None) -> None:
    """Refuse numbers, n or one or one a channel, that are not between two others, both included.

    Raises:
        RecipeError: one is not, or there is none.
    """
    right = type(values) is tuple and bool(values) and n in (None, len(values))
    if not right or not all(type(value) is float and low <= value <= high for value in values):
        raise RecipeError(f"recipe: {where} must be {n or ''} numbers from {low:g} to {high:g}, got {values!r:.80}")


def _leaves(values: Any) -> list[float]:
    return [leaf for value in values for leaf in (_leaves(value) if isinstance(value, tuple | list) else [value])]


def _as_tuples(value: Any, *, whole: bool) -> Any:
    """Return a number as it is meant, and a list of them, or of lists, as a tuple."""
    if isinstance(value, list | tuple):
        return tuple(_as_tuples(each, whole=whole) for each in value)
    if whole:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r:.80} is not a number")
    return float(value)
