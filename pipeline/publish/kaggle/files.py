"""A file of a version, as Kaggle is told of it: its token, what it is, and the columns of a table."""

from collections.abc import Mapping
from typing import Any

# As the official client translates the types of Data Package; it passes on what it does not know.
_TYPES = {
    **dict.fromkeys(("string", "date", "time", "yearmonth", "duration", "geopoint", "geojson"), "string"),
    **dict.fromkeys(("numeric", "number", "year"), "numeric"),
}


def new_file(token: str, resource: Mapping[str, Any] | None) -> Any:
    """Return what the SDK sends about a file.

    Args:
        token: of its upload.
        resource: what dataset-metadata.json says of it: `description`, and of a table `schema` with its `fields`.
    """
    from kagglesdk.datasets.types.dataset_api_service import ApiDatasetNewFile

    file = ApiDatasetNewFile()
    file.token = token
    if resource:
        file.description = resource.get("description")
        fields = (resource.get("schema") or {}).get("fields") or ()
        file.columns = [_column(order, field) for order, field in enumerate(fields)]
    return file


def _column(order: int, field: Mapping[str, Any]) -> Any:
    from kagglesdk.datasets.types.dataset_api_service import ApiDatasetColumn

    column = ApiDatasetColumn()
    column.order = order
    column.name = field["name"]
    column.description = field.get("description") or field.get("title") or ""
    if "type" in field:
        column.original_type = field["type"].lower()
        column.type = _TYPES.get(column.original_type, column.original_type)
    return column
