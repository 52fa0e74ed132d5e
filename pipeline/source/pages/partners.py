"""Which page of labels belongs to which page of images, by their names alone."""

import re
from collections.abc import Iterator, Sequence
from itertools import takewhile
from string import digits
from typing import TypeAlias

from pipeline.errors import ConfigError

_Key: TypeAlias = str | tuple[str, ...]

_DIGITS = re.compile(r"([0-9]+)")
_WORD = re.compile(r"[0-9]+|[^\W_0-9]+")
_MAX_LISTED = 3
# What only says that a page is an image or a label; Cellpose calls its labels _cp_masks.
_IMAGE_WORDS = {"image", "images", "img", "imgs", "raw", "volume"}
_LABEL_WORDS = {
    *("annotation", "annotations", "cp", "groundtruth", "gt", "label", "labels", "lbl", "lbls", "mask", "masks"),
    *("seg", "segmentation", "segmentations", "truth"),
}


def match_names(images: Sequence[str], labels: Sequence[str], where: tuple[str, str]) -> list[int]:
    """Return for the name of every image the place of its label's, where each has one partner and none is left.

    Names are partners when they are the same, else when they are the same but for what all names of a folder begin and
    end with, else but for separators, leading zeros and words such as `img` and `masks`. Of two folders of one page
    each, the names share a number, or, where one has none, a word; `mask` alone goes with any.

    Args:
        images: names without their endings.
        labels: likewise.
        where: what to call the two folders in error messages.

    Raises:
        ConfigError: a page has no partner, or two have the same one.
    """
    keys = list(_keys(images, labels))
    for of_images, of_labels in keys:
        if set(of_images) == set(of_labels) and len(set(of_images)) == len(of_images) == len(of_labels):
            place = {key: position for position, key in enumerate(of_labels)}
            return [place[key] for key in of_images]
    best = max(keys, key=lambda pair: len(set(pair[0]) & set(pair[1])))
    sides = list(zip((images, labels), best, where, strict=True))
    for (names, own, folder), (_, other, partner) in (sides, sides[::-1]):
        others = set(other)
        alone = [name for name, key in zip(names, own, strict=True) if key not in others]
        if alone:
            more = f" and {len(alone) - _MAX_LISTED} more" if len(alone) > _MAX_LISTED else ""
            skip = ", or say --skip-unlabelled" if names is images and match_some(images, labels) else ""
            raise ConfigError(
                f"{folder}: no page in {partner} belongs to {', '.join(alone[:_MAX_LISTED])}{more}; every slice needs "
                f"its label: add or remove pages, or name them alike{skip}"
            )
    names, own, folder = next(side for side in sides if len(set(side[1])) < len(side[1]))
    twice = next(key for key in own if own.count(key) > 1)
    found = [name for name, key in zip(names, own, strict=True) if key == twice]
    raise ConfigError(
        f"{folder}: two pages have the same number or name, {found[0]} and {found[1]}; remove or rename one of them"
    )


def match_some(images: Sequence[str], labels: Sequence[str]) -> list[int] | None:
    """Return for the name of every label the place of its image's, where only some images have one.

    Args:
        images: names without their endings.
        labels: likewise.

    Returns:
        None where a label has no partner, or two have the same one.
    """
    for of_images, of_labels in _keys(images, labels):
        if set(of_labels) <= set(of_images) and _are_distinct(of_images) and _are_distinct(of_labels):
            place = {key: position for position, key in enumerate(of_images)}
            return [place[key] for key in of_labels]
    return None


def is_label_name(stem: str) -> bool:
    """Return whether a name begins or ends with a word that labels are called by."""
    words = _words(stem)
    return bool(words) and (words[0] in _LABEL_WORDS or words[-1] in _LABEL_WORDS)


def natural_key(name: str) -> list[tuple[int, str]]:
    """Return what to sort names by, so that slice 10 comes after slice 9."""
    return [(int(part), "") if part.isdecimal() else (-1, part.lower()) for part in _DIGITS.split(name)]


def core_names(stems: Sequence[str]) -> list[str]:
    """Return what tells the names of a folder apart: without what all begin and end with, and leading zeros.

    A number is never cut in two: of `s_1`, `s_12` and `s_13` the cores are 1, 12 and 13. Nothing tells a single name
    apart, so that its core is empty.
    """
    if len(stems) == 1:
        return [""]
    rest = [stem[len(_shared_start(stems).rstrip(digits)) :] for stem in stems]
    n_end = len(_shared_start([stem[::-1] for stem in rest]).rstrip(digits))
    return [_DIGITS.sub(lambda number: str(int(number[0])), stem[: len(stem) - n_end]) for stem in rest]


def missing_numbers(cores: Sequence[str]) -> list[int]:
    """Return the numbers that are missing between the first and the last, where names differ in one number alone."""
    if len(cores) < 2 or not all(core.isdecimal() for core in cores):
        return []
    numbers = {int(core) for core in cores}
    return sorted(set(range(min(numbers), min(max(numbers), min(numbers) + 10**6) + 1)) - numbers)


def _are_distinct(keys: Sequence[_Key]) -> bool:
    return len(set(keys)) == len(keys)


def _keys(images: Sequence[str], labels: Sequence[str]) -> Iterator[tuple[Sequence[_Key], Sequence[_Key]]]:
    """Yield what may tell which name belongs to which: equal keys are partners. The surest come first."""
    yield images, labels
    # a core alone must not part names that are the same, and of a single name it is empty
    have_cores = not set(images) & set(labels) and min(len(images), len(labels)) > 1
    if have_cores:
        yield core_names(images), core_names(labels)
    words = [[_words(name) for name in names] for names in (images, labels)]
    yield words[0], words[1]
    bare = [[_without_role(each) for each in names] for names in words]
    yield bare[0], bare[1]
    if have_cores:
        texts = [["_".join(each) for each in names] for names in bare]
        yield core_names(texts[0]), core_names(texts[1])
    if len(images) == len(labels) == 1 and _share(bare[0][0], bare[1][0]):
        yield [""], [""]


def _words(stem: str) -> tuple[str, ...]:
    """Return the words and numbers of a name, without leading zeros."""
    return tuple(str(int(word)) if word.isdecimal() else word.lower() for word in _WORD.findall(stem))


def _without_role(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return the words of a name without those around it that only say what kind of page it is."""
    kinds = _IMAGE_WORDS | _LABEL_WORDS
    begin = next((place for place, word in enumerate(words) if word not in kinds), len(words))
    rest = words[begin:]
    n_end = next((place for place, word in enumerate(reversed(rest)) if word not in kinds), 0)
    return rest[: len(rest) - n_end]


def _share(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Return whether two names have a number in common, or a word where one of them has no number.

    A name such as `mask`, of which no word is left, goes with any.
    """
    if not one or not other:
        return True
    numbers = [{word for word in words if word.isdecimal()} for words in (one, other)]
    return bool(numbers[0] & numbers[1] if all(numbers) else set(one) & set(other))


def _shared_start(texts: Sequence[str]) -> str:
    """Return what all texts begin with."""
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*texts, strict=False))
    return "".join(letters[0] for letters in alike)
