"""What Exif data say of how a picture is to be shown: Exif 2.32 (CIPA DC-008), section 4.6, orientation."""

import struct

from pipeline.source.pages.picture import PictureError

_ORIENTATION_TAG = 274


def require_upright(exif: bytes) -> None:
    """Refuse a picture that its Exif data say is to be turned or mirrored: its labels were drawn on what was shown.

    The orientation is a short in the first directory of a TIFF structure; what cannot be read says nothing.

    Raises:
        PictureError: it is.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None or len(exif) < 8:
        return
    (begin,) = struct.unpack_from(f"{order}I", exif, 4)
    (n_tags,) = struct.unpack(f"{order}H", exif[begin : begin + 2].ljust(2, b"\0"))
    for place in range(begin + 2, min(begin + 2 + 12 * n_tags, len(exif) - 11), 12):
        tag, _, _, value = struct.unpack_from(f"{order}HHIH", exif, place)
        if tag == _ORIENTATION_TAG and 2 <= value <= 8:
            raise PictureError(
                f"its Exif orientation is {value}: programs show it turned or mirrored, and labels may be drawn either "
                "way; save it as it is to be seen, without orientation, as PNG or TIFF"
            )
