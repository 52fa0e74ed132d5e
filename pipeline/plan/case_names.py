"""What the case is called that a file belongs to: how groups, split files and folders name the same files."""

import re

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
