"""Change values of a plan from the command line: ``--set seconds=5``."""

import json
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TypeVar

from mpac.cli.errors import UserError

Plan = TypeVar("Plan")


def with_settings(plan: Plan, settings: Sequence[str], *, of_several: bool = False) -> Plan:
    """Return a copy of a plan with each ``name=value`` of ``settings``.

    A value is JSON, as in ``rates=[10,100]``.

    Raises ``UserError`` if a value has the wrong type, or if the plan has no such field. ``of_several`` leaves out the
    settings that the plan has no field for, because they may be for another row.
    """
    changes = {}
    for setting in settings:
        name, _, text = setting.partition("=")
        known = {field.name: getattr(plan, field.name) for field in fields(plan)}  # type: ignore[arg-type]
        if name not in known:
            if of_several:
                continue
            raise UserError(f"This plan has no {name}: it has {', '.join(known)}.")
        changes[name] = _value(name, text, like=known[name])
    return replace(plan, **changes)  # type: ignore[type-var]


def _value(name: str, text: str, *, like: object) -> object:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if isinstance(like, tuple) and isinstance(value, list) and all(isinstance(each, int | float) for each in value):
        return tuple(value)
    if isinstance(like, float) and isinstance(value, int | float):
        return float(value)
    if isinstance(like, int) and isinstance(value, int) and not isinstance(value, bool):
        return value
    raise UserError(f"{name} can't be {text!r}: it is now {json.dumps(like)}, which is what a value looks like.")
