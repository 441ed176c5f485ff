"""Which store a request is for."""

from workflows.errors import Detail, InvalidRequest, ResourceNotFound
from workflows.tenants.caller import Caller, Scope


def store_of(caller: Caller, asked: str | None) -> str:
    """The caller's own store, or the one that a caller above the stores asks for.

    Raises ``InvalidRequest`` where such a caller names none, ``ResourceNotFound`` where a store's caller names another.
    """
    if caller.scope is not Scope.STORE:
        if not asked:
            raise InvalidRequest(Detail("store_id", "Say for which store this is"))
        return asked
    if asked and asked != caller.store_id:
        raise ResourceNotFound(Detail("store_id", "There is no such store"))
    return caller.store_id
