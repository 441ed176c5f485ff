"""How far the workers are with a payment or refund, for store managers and above, in answers to reads only.

Devices and staff get none of it: a till that knows when a row is due next would act on it. Answers to a POST have none
either, because a repeated request gets the stored answer whoever reads it, byte for byte.
"""

from collections.abc import Callable, Mapping
from typing import Any

from workflows.tenants.caller import Caller, CallerRole

PROGRESS = ("due_at", "in_doubt_since", "attempts", "inquiries")

Serializer = Callable[[Mapping[str, Any]], dict[str, Any]]
"""From a row to the fields of the contract."""


def with_progress(caller: Caller, show: Serializer) -> Serializer:
    """Return ``show``, which adds the fields of ``PROGRESS`` if ``caller`` may see them."""
    if caller.role < CallerRole.STORE_MANAGER:
        return show
    return lambda row: {**show(row), **{name: row[name] for name in PROGRESS}}
