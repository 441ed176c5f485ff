"""Add the workers' progress with a payment or refund to reads by store managers and above.

Devices and staff do not get it: a till that knows when a row is due next would act on it. Answers to a POST do not have it
either, because a repeated request gets the stored answer byte for byte, whatever the role of its caller.
"""

from collections.abc import Callable, Mapping
from typing import Any

from workflows.tenants.caller import Caller, CallerRole

PROGRESS = ("due_at", "in_doubt_since", "attempts", "inquiries")

Serializer = Callable[[Mapping[str, Any]], dict[str, Any]]
"""Turns a row into the fields of the contract."""


def with_progress(caller: Caller, serialize: Serializer) -> Serializer:
    """Return ``serialize``, extended by the fields of ``PROGRESS`` if ``caller`` may see them."""
    if caller.role < CallerRole.STORE_MANAGER:
        return serialize
    return lambda row: {**serialize(row), **{name: row[name] for name in PROGRESS}}
