"""Add a format to each integer, because generated Kotlin, Java and C# use 32 bits for an integer without one."""

from typing import Any

from api.openapi.walk import objects

BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
"""Name of a bound in pydantic → its name in JSON Schema."""

SMALLEST, LARGEST = -(2**31), 2**31 - 1


def name_bounds(document: dict[str, Any]) -> None:
    """Rename pydantic's bounds in the schemas of ``document`` to the names of JSON Schema.

    Pydantic writes its own names (``ge``, ``lt`` …) for types with a custom validator, such as those of query parameters. No
    client understands these names.
    """
    for schema in objects(document):
        if schema.get("type") in ("integer", "number"):
            for python_name, name in BOUNDS.items():
                if python_name in schema:
                    schema[name] = schema.pop(python_name)


def add_integer_formats(document: dict[str, Any]) -> None:
    """Give each integer of ``document`` its format: ``int32`` if its bounds say so, else ``int64``."""
    for schema in objects(document):
        if schema.get("type") == "integer":
            schema.setdefault("format", "int32" if fits_32_bits(schema) else "int64")


def fits_32_bits(schema: dict[str, Any]) -> bool:
    """Return whether the bounds of an integer schema lie within 32 bits."""
    lower = schema.get("minimum", schema.get("exclusiveMinimum"))
    upper = schema.get("maximum", schema.get("exclusiveMaximum"))
    return lower is not None and upper is not None and lower >= SMALLEST and upper <= LARGEST
