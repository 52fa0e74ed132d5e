"""What the case is called that a file belongs to: how groups, split files and folders name the same files."""

import re
from collections.abc import Iterable

# What the columns of a table are mostly called, those first that count where several are there.
CASE_COLUMNS = (
    "file", "case", "id", "filename", "file_name", "image", "image_id", "image_path", "path", "name", "sample",
    "sample_id", "case_id",
)  # fmt: skip
GROUP_COLUMNS = (
    "group", "patient_id", "patient", "patientid", "subject_id", "subject", "participant_id", "animal_id", "animal",
    "donor_id", "donor", "specimen_id", "specimen",
)  # fmt: skip

_NUMBER = re.compile(r"#\d+$")
_CHANNEL = re.compile(r"(?<=.)_\d{4}$")
# Known ones alone: `patient1.2` is a name without an extension.
_EXTENSION = re.compile(
    r"(?<=.)\.(nii\.gz|ome\.tiff?|ome\.zarr|tiff?|png|jpe?g|bmp|gif|webp|jp2|h5|hdf5?|n5|zarr|npy|npz|nii|nrrd|mha|mhd"
    r"|mrc|mat|dcm|svs|ndpi|czi|nd2|lif|b2nd)$",
    re.IGNORECASE,
)


def case_names(name: str) -> tuple[str, ...]:
    """Return what the case may be called that a file, a page of a file, or an entry of a split file belongs to.

    The first name is the file's, without its folder, its extension and the number of the page. Where it ends in four
    digits, as nnU-Net numbers channels, a second one lacks these: only a list of cases tells a channel from a number.

    >>> case_names("raw/p1_0000.nii.gz"), case_names("stack.ome.tif#3"), case_names("p1")
    (('p1_0000', 'p1'), ('stack',), ('p1',))
    """
    file = re.split(r"[/\\]", name.strip())[-1]
    unnumbered = _NUMBER.sub("", file)
    stem, n_found = _EXTENSION.subn("", unnumbered)
    stem = stem if n_found else file
    case = _CHANNEL.sub("", stem)
    return (stem,) if case == stem else (stem, case)


def case_keys(names: Iterable[str]) -> dict[str, str]:
    """Return for each name in a list what all names in it are called that mean the same case, or page of a file.

    Extensions do not count, and a channel's number does not where the list has the case without one, too. Folders do:
    `a/1.png` is not `b/1.png`.

    >>> case_keys(["x/p1", "x/p1_0000.nii.gz", "i_0001.png", "s.tif#3"])
    {'x/p1': 'x/p1', 'x/p1_0000.nii.gz': 'x/p1', 'i_0001.png': 'i_0001', 's.tif#3': 's#3'}
    """
    parts = {}
    for name in names:
        *folders, file = re.split(r"[/\\]", name.strip().removeprefix("./"))
        stem = case_names(file)[0]
        page = _NUMBER.search(file.removeprefix(stem))
        parts[name] = ("/".join((*folders, stem)), page[0] if page else "")
    known = set(parts.values())
    keys = {}
    for name, (stem, number) in parts.items():
        case = _CHANNEL.sub("", stem)
        keys[name] = (case if (case, number) in known else stem) + number
    return keys
