"""Joins decide where files go: to the earliest split that they lead to, and nowhere without one."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.audit.splits.regrouping import Join, Move, PlacedFile, regroup

A, B = (PlacedFile("train", name) for name in "ab")
V, W = (PlacedFile("val", name) for name in "vw")
X, Y, Z = (PlacedFile("test", name) for name in "xyz")
ALL = (A, B, V, W, X, Y, Z)


def test_without_joins_all_stays() -> None:
    assert regroup(ALL, []).moves == ()
    assert regroup(ALL, []).placed == {file: file.split for file in ALL}


def test_files_of_one_split_that_are_joined_stay_there() -> None:
    assert regroup(ALL, [Join("is", (X, Y, Z)), Join("is", (A, B))]).moves == ()


def test_a_chain_moves_as_a_whole_and_each_link_says_why() -> None:
    chain = regroup(ALL, [Join("like", (Y, X)), Join("is", (A, X))])
    assert chain.moves == (Move(X, "train", "is", A), Move(Y, "train", "like", X))
    assert chain.placed == {A: "train", B: "train", V: "val", W: "val", X: "train", Y: "train", Z: "test"}
    assert chain.emptied == ()


def test_the_earliest_split_wins() -> None:
    """Though val reaches test first, what leads on to train goes there, with the file of val."""
    repair = regroup(ALL, [Join("is", (V, X)), Join("is", (W, Y)), Join("is", (X, B))])
    assert {(move.file, move.to) for move in repair.moves} == {(V, "train"), (X, "train"), (Y, "val")}


def test_the_reason_is_the_shortest_way() -> None:
    repair = regroup(ALL, [Join("far", (X, Y)), Join("far", (A, X)), Join("near", (B, Y))])
    assert repair.moves == (Move(X, "train", "far", A), Move(Y, "train", "near", B))


def test_a_split_that_loses_all_its_files_is_told() -> None:
    assert regroup(ALL, [Join("is", (A, V, W)), Join("is", (B, X))]).emptied == ("val",)
    assert regroup(ALL, [Join("is", ALL)]).emptied == ("val", "test")


@given(st.lists(st.lists(st.sampled_from(ALL), min_size=2, max_size=4, unique=True)))
def test_no_join_crosses_splits_and_nothing_moves_without_one(joined: list[list[PlacedFile]]) -> None:
    joins = [Join("is", tuple(files)) for files in joined]
    repair = regroup(ALL, joins)
    placed = repair.placed
    assert set(placed) == set(ALL)
    assert all(placed[one] == placed[other] for join in joins for one, other in combinations(join.files, 2))
    order = ("train", "val", "test")
    reached = set()
    for move in repair.moves:
        assert order.index(move.to) < order.index(move.file.split)
        assert any({move.file, move.other} <= set(join.files) for join in joins)
        reached.add(move.to)
    assert all(any(placed[file] == split == file.split for file in ALL) for split in reached)
    assert regroup(ALL, [*joins, *joins]) == repair
