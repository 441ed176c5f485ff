"""The configuration table: every variable of the product, its default and its meaning. It holds no values of secrets."""

from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from mpac.devtools.documentation.tables import table
from workflows.settings import Settings


def render_configuration() -> str:
    """One row per field of ``Settings``, in the order they are written there."""
    prefix = Settings.model_config["env_prefix"]
    rows = [
        (f"`{prefix}{name.upper()}`", _default(field), f"{field.description or ''}{_choices(field.annotation)}")
        for name, field in Settings.model_fields.items()
    ]
    return table(("variable", "default", "meaning"), rows)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    default = field.get_default(call_default_factory=True, validated_data={})
    return "none" if default is None else f"`{default}`"


def _choices(annotation: Any) -> str:
    if get_origin(annotation) is not Literal:
        return ""
    return " One of " + ", ".join(f"`{choice}`" for choice in get_args(annotation)) + "."
