"""Zarr: OME-Zarr 0.4 and 0.5 at full resolution with their labels, and plain arrays; in a folder, or in a zip file.

OME-NGFF specification 0.4 (Zarr version 2) and 0.5 (version 3), and of older ones what they have in common.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.errors import ConfigError
from pipeline.source.pages.address import split_address
from pipeline.source.pages.grid import GridSlices, axes_of
from pipeline.source.pages.picture import PictureError, picture_errors
from pipeline.source.pages.zarr_array import ZarrArray
from pipeline.source.pages.zarr_store import Store, open_store, read_json
from pipeline.source.pixel_size import as_nm

_METADATA = ("zarr.json", ".zarray", ".zgroup")
_MAX_LISTED = 5
_OLD_AXES = "tczyx"  # of versions before 0.3, which do not say
_AXES_ADVICE = (
    "write it as OME-Zarr, or say so in its attribute axes, a letter each of t, c, z, y and x (in Python: "
    "zarr.open(PLACE).attrs['axes'] = 'zyxc')"
)


class _Node(NamedTuple):
    """A group or an array: where it is, its attributes, and the metadata of an array."""

    key: str
    attributes: Mapping[str, Any]
    array: Mapping[str, Any] | None

    @property
    def ome(self) -> Mapping[str, Any]:
        """What OME-Zarr says: among the attributes up to 0.4, else below `ome`."""
        inner = self.attributes.get("ome")
        return inner if isinstance(inner, dict) else self.attributes

    def inside(self, path: object) -> str:
        """Return the key of something in it."""
        return f"{self.key}/{path}" if self.key else str(path)


def is_zarr(path: Path) -> bool:
    """Return whether a folder is a Zarr group or array."""
    return any((path / name).is_file() for name in _METADATA)


def open_zarr(path: Path, *, labels: bool) -> GridSlices:
    """Return the stack in a Zarr folder or zip file, or in a place there: `x.zarr/labels/cells`, `x.zip:/labels/cells`.

    Of an image of OME-Zarr that is the full resolution, or, for labels, its one label image; of a plain group its only
    array.

    Raises:
        ConfigError: there is no such place, or several arrays and none is named.
        SourceError: the array is damaged, or not one stack.
    """
    place, key = split_address(path)
    with picture_errors(path):
        if not place.exists():
            raise ConfigError(f"{place}: expected a Zarr folder or zip file, found nothing")
        store = open_store(place)
        image = _read_node(store, key)
        if image is None:
            raise ConfigError(f"{path}: expected a Zarr group or array, found none; name another place")
        node, axes, channels, pixel_nm = _find_array(store, image, path, labels=labels)
        array = ZarrArray(store, node.key, node.array or {})
        stored = {key: size for key, size in store.sizes(node.key).items() if not _is_hidden(key)}
        chunks = {key: size for key, size in stored.items() if key != node.inside("zarr.json")}
        if odd := next((key for key in chunks if not array.has_chunk(key)), None):
            raise PictureError(f"{odd} is no chunk of an array of {array.shape}; remove it, or copy it all again")
        if not chunks:
            raise PictureError("has no chunks, so that all would be empty; was it copied to its end?")
        axes = axes or axes_of(array.shape, _AXES_ADVICE)
        if len(axes) != len(array.shape):
            raise PictureError(f"axes {axes!r:.40} for an array of {array.shape}; {_AXES_ADVICE}")
        files = tuple(place / key for key in stored) if place.is_dir() else (place,)
    return GridSlices(
        path,
        files,
        array,
        axes,
        n_stored=sum(chunks.values()),
        channels=channels,
        pixel_nm=pixel_nm,
        labels=labels,
        key=node.key,
    )


class _Found(NamedTuple):
    """An array, its axes where they are told, what its channels are called, and the (y, x) size of its pixels in nm."""

    node: _Node
    axes: str
    channels: tuple[str, ...] = ()
    pixel_nm: tuple[float, float] | None = None


def _find_array(store: Store, node: _Node, path: Path, *, labels: bool) -> _Found:
    """Return the array that a place stands for."""
    if node.array is not None:
        return _Found(node, _plain_axes(node))
    if labels and "image-label" not in node.ome and (found := _label_image(store, node, path)):
        node = found
    if "plate" in node.ome:
        raise ConfigError(f"{path}: is a plate of many images; name one, such as {path}/A/1/0")
    if "multiscales" not in node.ome:
        node = _only_child(store, node, path)
        if "multiscales" not in node.ome:
            return _Found(node, _plain_axes(node))
    try:
        (scales,) = node.ome["multiscales"]
        axes = "".join(_axis(each) for each in scales["axes"]) if "axes" in scales else _OLD_AXES
        key = node.inside(scales["datasets"][0]["path"])
        omero = node.ome.get("omero") or {}
        channels = tuple(str(channel.get("label", "")) for channel in omero.get("channels", ()))
        pixel_nm = _pixel_nm(scales)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise PictureError(f"its OME-Zarr metadata are not those of one image ({error}); write it again") from error
    full = _read_node(store, key)
    if full is None or full.array is None:
        raise PictureError(f"its full resolution, {key}, is not there; was it copied to its end?")
    return _Found(full, axes, channels, pixel_nm)


def _pixel_nm(scales: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the (y, x) size of a pixel of the full resolution, where axes have units and a scale is told."""
    units = {_axis(axis): axis.get("unit", "") for axis in scales.get("axes", ()) if isinstance(axis, dict)}
    changes = scales["datasets"][0].get("coordinateTransformations", ())
    scale = next((change["scale"] for change in changes if change.get("type") == "scale"), None)
    if scale is None or not {"y", "x"} <= set(units):
        return None
    size = dict(zip(units, scale, strict=True))
    y, x = (as_nm(float(size[axis]), str(units[axis])) for axis in "yx")
    return (y, x) if y and x else None


def _label_image(store: Store, image: _Node, path: Path) -> _Node | None:
    """Return the one label image of an image; None where it has no group of labels."""
    group = _read_node(store, image.inside("labels"))
    if group is None or group.array is not None:
        return None
    names = group.ome.get("labels")
    if not isinstance(names, list) or not names:
        names = store.names(group.key)
    found = {str(name): node for name in names if (node := _read_node(store, group.inside(name)))}
    if len(found) != 1:
        raise ConfigError(f"{path}: {_listed(list(found), path, 'labels/')}")
    return next(iter(found.values()))


def _only_child(store: Store, group: _Node, path: Path) -> _Node:
    """Return the only image or array in a group; labels are no images."""
    nodes = {name: node for name in store.names(group.key) if (node := _read_node(store, group.inside(name)))}
    found = {
        name: node for name, node in nodes.items() if name != "labels" and (node.array or "multiscales" in node.ome)
    }
    if len(found) != 1:
        raise ConfigError(f"{path}: {_listed(list(found), path, '')}")
    return next(iter(found.values()))


def _listed(names: list[str], path: Path, start: str) -> str:
    """Return what to say of several arrays, or of none."""
    if not names:
        return "has no array of pixels; name another place"
    more = ", ..." if len(names) > _MAX_LISTED else ""
    place = path if path.is_dir() or split_address(path)[1] else f"{path}:"
    return f"has {', '.join(names[:_MAX_LISTED])}{more}; name one, as {place}/{start}{names[0]}"


def _read_node(store: Store, key: str) -> _Node | None:
    """Return the group or array at a place; None where there is none."""
    start = f"{key}/" if key else ""
    if values := read_json(store, f"{start}zarr.json"):
        attributes = values.get("attributes") or {}
        is_array = values.get("node_type") == "array"
        return _Node(key, attributes if isinstance(attributes, dict) else {}, values if is_array else None)
    array = read_json(store, f"{start}.zarray")
    if array is None and read_json(store, f"{start}.zgroup") is None:
        return None
    return _Node(key, read_json(store, f"{start}.zattrs") or {}, array)


def _is_hidden(key: str) -> bool:
    """Return whether a file is one that computers add, such as .DS_Store, or version 2's metadata."""
    return key.rpartition("/")[2].startswith(".")


def _axis(axis: Any) -> str:
    """Return the letter of an axis."""
    return str(axis if isinstance(axis, str) else axis["name"]).lower()


def _plain_axes(node: _Node) -> str:
    """Return the axes of an array outside OME-Zarr: its attribute `axes`, or the names that it gives its dimensions."""
    told = node.attributes.get("axes")
    if isinstance(told, str):
        return told.lower()
    for names in ((node.array or {}).get("dimension_names"), node.attributes.get("_ARRAY_DIMENSIONS"), told):
        if isinstance(names, list) and all(isinstance(name, str) and len(name) == 1 for name in names):
            return "".join(names).lower()
    return ""
