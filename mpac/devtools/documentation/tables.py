"""Render generated parts of the documents as Markdown tables: commands, errors, configuration, invariants.

Nothing here knows a value of a secret: the configuration table shows defaults only.
"""

from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from api.errors import STATUS
from mpac.cli.commands import HELP
from workflows.errors import DomainError, every_error
from workflows.invariants.rules import RULES
from workflows.settings import Settings


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; a bar inside a cell is escaped."""
    lines = [_line(head), "|" + "---|" * len(head), *(_line(row) for row in rows)]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def render_commands() -> str:
    """Return one row per command, in the order of `mpac --help`."""
    return table(("command", "what it does"), [(f"`{name}`", meaning) for name, meaning in HELP.items()])


def render_errors() -> str:
    """Return one row per error, by status; the meaning is the docstring of the error's class."""
    errors = sorted(every_error(), key=lambda error: STATUS[error.kind])
    rows = [(str(STATUS[error.kind]), f"`{error.code}`", _meaning(error)) for error in errors]
    return table(("HTTP", "code", "meaning"), rows)


def _meaning(error: type[DomainError]) -> str:
    return " ".join((error.__doc__ or "").split()).replace("``", "`")


def render_invariants() -> str:
    """Return one row per rule about money, by invariant, in the rule's own sentence."""
    rows = [(rule.invariant, f"`{rule.name}`", rule.sentence) for rule in RULES]
    return table(("number", "rule", "checks that"), rows)


def render_configuration() -> str:
    """Return one row per field of ``Settings``, in the order of their definition."""
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
