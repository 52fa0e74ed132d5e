"""The chain of page directories in a TIFF file, walked before anything else is believed.

tifffile looks for a circle once, after a hundred pages, and would follow a later one until memory runs out.
Layouts of header and directory: TIFF 6.0, section 2, and the BigTIFF proposal.
"""

import struct
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import SourceError

_MOST_PAGES = 10**5
_MOST_TAGS = 4096


class PageAddress(NamedTuple):
    """Where a page is: its number in the chain, and the byte at which its directory begins."""

    number: int
    offset: int


def find_pages(path: Path) -> tuple[PageAddress, ...]:
    """Return where the pages of a file are, in the order of its chain; there is at least one.

    Raises:
        SourceError: the file is no TIFF, or its chain is broken or runs in a circle.
        OSError: the file cannot be read.
    """
    n_bytes = path.stat().st_size
    with path.open("rb") as file:
        order = {b"II": "<", b"MM": ">"}.get(file.read(2))
        version = struct.unpack(f"{order}H", file.read(2).ljust(2, b"\0"))[0] if order else 0
        if version not in (42, 43):
            raise SourceError(f"{path}: not a TIFF file (it does not begin like one); export the stack as TIFF")
        big = version == 43
        file.seek(8 if big else 4)
        count_format, entry_bytes, offset_format = (
            (f"{order}Q", 20, f"{order}Q") if big else (f"{order}H", 12, f"{order}I")
        )

        def number(number_format: str, page: int) -> int:
            size = struct.calcsize(number_format)
            data = file.read(size)
            if len(data) < size:
                raise SourceError(f"{path}, page {page}: the file is cut short in its directory; copy it again")
            return int(struct.unpack(number_format, data)[0])

        seen: dict[int, int] = {}
        offset = number(offset_format, 0)
        while offset:
            page = len(seen)
            if offset in seen:
                raise SourceError(
                    f"{path}, page {page}: points back to page {seen[offset]}, so the pages have no end; the file is "
                    "damaged: export it again"
                )
            if offset >= n_bytes or page == _MOST_PAGES:
                problem = f"should be at byte {offset:,}" if offset >= n_bytes else f"is one of more than {_MOST_PAGES}"
                raise SourceError(
                    f"{path}, page {page}: {problem} of a file of {n_bytes:,} bytes; the file is cut short or damaged: "
                    "copy or export it again"
                )
            seen[offset] = page
            file.seek(offset)
            n_tags = number(count_format, page)
            if not 0 < n_tags <= _MOST_TAGS:
                raise SourceError(f"{path}, page {page}: claims {n_tags:,} tags; damaged: export it again")
            file.seek(n_tags * entry_bytes, 1)
            offset = number(offset_format, page)
    if not seen:
        raise SourceError(f"{path}: a TIFF file without a page; export it again")
    return tuple(PageAddress(page, offset) for offset, page in seen.items())
