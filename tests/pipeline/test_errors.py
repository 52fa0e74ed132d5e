"""Whoever writes a name that does not exist is told the one that was probably meant."""

import pytest

from pipeline.errors import advise

KNOWN = ["n", "shard-size", "size", "split", "split-file", "voxel_size_nm", "licence"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("license", "licence"),
        ("Licence", "licence"),
        ("shard_size", "shard-size"),
        ("--shard-size", "shard-size"),
        ("shardsize", "shard-size"),
        ("voxel-size-nm", "voxel_size_nm"),
        ("voxel_size", "voxel_size_nm"),
        ("N", "n"),
        ("splitfile", "split-file"),
    ],
)
def test_the_nearest_name_is_offered_as_it_is_written(name: str, meant: str) -> None:
    assert advise(name, KNOWN) == f"did you mean {meant}?"


@pytest.mark.parametrize("name", ["colour", "", "-", "%"])
def test_all_names_are_offered_where_none_is_near(name: str) -> None:
    assert advise(name, KNOWN) == f"expected one of {', '.join(KNOWN)}"
