"""What a file's name says of the case that it belongs to."""

import pytest

from pipeline.plan.case_names import case_names


@pytest.mark.parametrize(
    ("name", "cases"),
    [
        ("p1", ("p1",)),
        ("p1.png", ("p1",)),
        ("imagesTr/p1.PNG", ("p1",)),
        ("imagesTr\\p1.tiff", ("p1",)),
        ("p1.nii.gz", ("p1",)),
        ("p1.ome.tif", ("p1",)),
        ("p1.OME.TIFF#12", ("p1",)),
        ("p1_0000.nii.gz", ("p1_0000", "p1")),
        ("p1_0001", ("p1_0001", "p1")),
        ("p1.2", ("p1.2",)),
        ("p1#3", ("p1#3",)),
        ("_0001", ("_0001",)),
        (".png", (".png",)),
        ("p1_00001.png", ("p1_00001",)),
    ],
)
def test_what_a_name_says_of_its_case(name: str, cases: tuple[str, ...]) -> None:
    assert case_names(name) == cases
