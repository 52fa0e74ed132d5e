"""Facts about a source end up in a published record: only what can be recorded, and nothing misspelled, gets there."""

from typing import Any

import pytest

from pipeline.errors import ConfigError
from pipeline.shards.digest import canonical_json
from pipeline.shards.provenance import FACTS, MAX_TEXT_LENGTH, check_facts

GOOD: dict[str, Any] = {
    "title": "Larva, nerve cord",
    "specimen": "Drosophila, ssTEM",
    "licence": "CC BY 4.0",
    "citation": "Müller et al. 2020, doi:10.1000/x",
    "voxel_size_nm": [50, 4, 4.5],
    "url": "https://example.org/data?x=1",
}


def test_good_facts_are_returned_ready_for_the_record() -> None:
    assert set(GOOD) == set(FACTS)
    facts = check_facts(GOOD, where="here")
    assert facts == GOOD
    assert check_facts({}, where="here") == {}


def test_equal_sizes_are_recorded_equally() -> None:
    """50 and 50.0 nm are the same voxel, and must be the same dataset."""
    sizes = [50, 4, 4], (50.0, 4, 4)
    records = [canonical_json(check_facts({"voxel_size_nm": size}, where="here")) for size in sizes]
    assert records[0] == records[1] == b'{"voxel_size_nm":[50.0,4.0,4.0]}\n'


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("license", "MIT", "there is no fact 'license'; did you mean licence?"),
        ("name", "x", "there is no fact 'name'; expected one of title, specimen"),
        ("synthetic", False, "there is no fact 'synthetic'"),
        ("parts", [], "there is no fact 'parts'"),
        ("title", "", "title: expected 1 to 2000 characters of text, got ''"),
        ("title", " \t", "title: expected 1 to 2000 characters of text"),
        ("title", 3, "title: expected 1 to 2000 characters of text, got 3"),
        ("title", ["a"], "title: expected 1 to 2000 characters of text"),
        ("title", "x" * (MAX_TEXT_LENGTH + 1), "title: expected 1 to 2000 characters of text"),
        ("citation", "one\ntwo", "citation: expected one line of text"),
        ("citation", "one\u2028two", "citation: expected one line of text"),
        ("specimen", "bell \x07", "specimen: expected one line of text"),
        ("specimen", "half \udcff", "specimen: expected one line of text"),
        ("url", "example.org", "url: expected an address that begins with http:// or https://"),
        ("url", "ftp://example.org", "url: expected an address"),
        ("url", "file:///etc/passwd", "url: expected an address"),
        ("url", "javascript:alert(1)", "url: expected an address"),
        ("url", "https://", "url: expected an address"),
        ("url", "https://[", "url: expected an address"),
        ("url", "https://example.org/a b", "url: expected an address"),
        ("voxel_size_nm", [50, 4], "voxel_size_nm: expected three positive numbers, in nm: [z, y, x], got [50, 4]"),
        ("voxel_size_nm", [50, 4, 0], "voxel_size_nm: expected three positive numbers"),
        ("voxel_size_nm", [50, 4, -4], "voxel_size_nm: expected three positive numbers"),
        ("voxel_size_nm", [50, 4, True], "voxel_size_nm: expected three positive numbers"),
        ("voxel_size_nm", [50, 4, "4"], "voxel_size_nm: expected three positive numbers"),
        ("voxel_size_nm", [50, 4, float("nan")], "voxel_size_nm: expected three positive numbers"),
        ("voxel_size_nm", [50, 4, float("inf")], "voxel_size_nm: expected three positive numbers"),
        ("voxel_size_nm", [50, 4, 10**400], "voxel_size_nm: expected three positive numbers"),
        ("voxel_size_nm", 50, "voxel_size_nm: expected three positive numbers"),
        ("voxel_size_nm", "123", "voxel_size_nm: expected three positive numbers"),
    ],
)
def test_what_cannot_be_recorded_is_refused_and_named(name: str, value: Any, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_facts({**GOOD, name: value}, where="here")
    assert str(caught.value).startswith(f"here: {words}")
    assert len(str(caught.value)) < 300


def test_the_longest_text_and_other_scripts_are_fine() -> None:
    for text in ("x" * MAX_TEXT_LENGTH, "細胞膜", "Zürich\u00a0(CH)", "θ = 5°"):
        assert check_facts({"title": text}, where="here") == {"title": text}
