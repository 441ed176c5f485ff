"""Say that a missing payment may have been archived, instead of that there never was one.

An id contains its time, so the answer depends on the id's month only: it is the same for every caller, whether or not such a
payment ever existed, and reveals nothing about other tenants.
"""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import text

from workflows.database.engines import Role
from workflows.database.hot_path import execute_alone
from workflows.errors import ResourceNotFound

P = ParamSpec("P")
R = TypeVar("R")

# archived_months is a table of a higher layer. It is read through a function that every role may call.
_MONTH = text("""
    SELECT m.month, to_char(m.archived_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day FROM archived_month_of(:id) AS m
    WHERE m.month IS NOT NULL
""")


async def explain_missing(payment_id: str, error: ResourceNotFound) -> ResourceNotFound:
    """Return ``error``, or one that says when the payments of the id's month were archived."""
    found = (await execute_alone(Role.ACCEPT, _MONTH, {"id": payment_id})).all()
    if not found:
        return error
    month, day = found[0]["month"], found[0]["day"]
    months = month.removeprefix("until_").replace("_", "-")
    which = f"from before {months}" if month.startswith("until_") else f"of {months}"
    return ResourceNotFound(
        *error.details,
        message=f"Payments {which} were archived on {day}; ask the operator of this service for this one",
    )


def explains_archived(
    use_case: Callable[Concatenate[str, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[str, P], Coroutine[Any, Any, R]]:
    """Make a use-case say that a missing payment may have been archived.

    Its first argument is the payment's id.
    """

    @wraps(use_case)
    async def explained(payment_id: str, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await use_case(payment_id, *args, **kwargs)
        except ResourceNotFound as error:
            raise await explain_missing(payment_id, error) from error

    return explained
