"""Finds the image column of a table."""

import pyarrow as pa

from shards.errors import InputError

__all__ = ["IMAGE_COLUMNS", "bytes_of", "image_column", "is_bytes"]

IMAGE_COLUMNS = (
    *("image", "img", "image_data", "image_bytes", "img_bytes", "image_content", "picture", "photo"),
    *("bytes", "data", "content", "jpg", "jpeg", "png", "webp"),
)
"""Column names that indicate images. If several columns hold bytes, the one whose name comes first here is used."""


def is_bytes(kind: pa.DataType) -> bool:
    """Whether ``kind`` is a variable-length binary type."""
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_image(kind: pa.DataType) -> bool:
    """Whether ``kind`` is the struct that the ``datasets`` library uses for an image: its bytes and a path.

    Reads the names of all fields, so that invalid UTF-8 in a name raises an error here rather than later.
    """
    fields = [kind[place] for place in range(kind.num_fields)] if pa.types.is_struct(kind) else []
    inside = [field.type for field in fields if field.name == "bytes"]
    return len(inside) == 1 and is_bytes(inside[0])


def image_column(schema: pa.Schema, shown: str, has_paths: bool = False) -> str:
    """Returns the name of the image column, or ``""`` if there is none.

    ``has_paths`` says whether another column gives file paths. If so, a column of plain bytes is used only if its name
    is in ``IMAGE_COLUMNS``. Raises ``InputError`` if several columns qualify, or if a column holds lists of images.
    """
    structs = [field.name for field in schema if _is_image(field.type)]
    plain = [field.name for field in schema if is_bytes(field.type)]
    known = {name.lower(): name for name in reversed([*structs, *plain])}
    named = next((known[name] for name in IMAGE_COLUMNS if name in known), "")
    found = structs or ([] if has_paths else plain)
    if named or len(found) == 1:
        name = named or found[0]
        if len(schema.get_all_field_indices(name)) > 1:
            raise InputError(f"{shown} has two columns called {name}: remove one of them")
        return name
    if found:
        raise InputError(
            f"{shown} has several columns that may hold the images ({', '.join(found[:5])}): rename the right one to "
            "image, or remove the others"
        )
    lists = [field.name for field in schema if pa.types.is_list(field.type) or pa.types.is_large_list(field.type)]
    several = [name for name in lists if _is_image(kind := schema.field(name).type.value_type) or is_bytes(kind)]
    if several and not has_paths:
        raise InputError(
            f"{shown} has several images per row, in the column {several[0]}: write a table with one image per row"
        )
    return ""


def bytes_of(column: pa.Array) -> pa.Array:
    """The image bytes in a column; null for rows without an image."""
    if not pa.types.is_struct(column.type):
        return column
    names = [column.type[place].name for place in range(column.type.num_fields)]
    return column.flatten()[names.index("bytes")]  # flatten() applies the structure's nulls
