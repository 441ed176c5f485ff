"""Dependencies that routes declare by type: the caller and its role, the idempotency key, the request id, the page."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Path, Query, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.idempotency import key_of, key_value
from api.runtime import Runtime, runtime_of
from api.schemas.base import ReasonIn
from api.schemas.patterns import ID_PATTERN
from api.schemas.query_types import WholeNumber
from workflows.errors import CredentialRefused, NotAuthenticated, NotAuthorized
from workflows.requests.idempotency import Key
from workflows.tenants.caller import Caller, CallerRole

_bearer = HTTPBearer(auto_error=False, description="A device's access token or a user's token")


async def authenticate(request: Request) -> Caller:
    """Verify the token of a request and return the caller.

    Count the request against the limit of the caller's merchant. Raises ``NotAuthenticated``, and ``RateLimitExceeded`` above
    the limit of the merchant or, for refused tokens, the address.
    """
    runtime = runtime_of(request)
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    try:
        if scheme.lower() != "bearer" or not token:
            raise NotAuthenticated()
        caller = await runtime.tokens.verify(token.strip(" \t"))
    except NotAuthenticated as error:
        count_failed_auth(request, error)
        raise
    runtime.limits.count(caller.merchant_id or caller.psp_id)
    request.state.caller = caller
    return caller


def count_failed_auth(request: Request, error: NotAuthenticated) -> None:
    """Count a refused attempt against the limit of its address, unless the caller is known.

    Raises ``RateLimitExceeded`` above the limit.
    """
    if not isinstance(error, CredentialRefused):
        runtime_of(request).failed_auth_limit.count(request.scope)


async def current_caller(
    request: Request, _credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
) -> Caller:
    """Return the caller of a request.

    ``_credentials`` only declares the security scheme for the OpenAPI document.
    """
    return await authenticate(request)


def at_least(role: CallerRole) -> Any:
    """Return a dependency that returns the caller and raises ``NotAuthorized`` for roles below ``role``.

    The scope of the dependency names the role for the OpenAPI document and has no other effect.
    """

    async def check(caller: Annotated[Caller, Depends(current_caller)]) -> Caller:
        if caller.role < role:
            raise NotAuthorized(message=f"This operation requires the role {role.name.lower()} or a higher one")
        return caller

    return Security(check, scopes=[role.name.lower()])


AnyCaller = Annotated[Caller, Depends(current_caller)]
StoreManager = Annotated[Caller, at_least(CallerRole.STORE_MANAGER)]
MerchantAdmin = Annotated[Caller, at_least(CallerRole.MERCHANT_ADMIN)]
PspAdmin = Annotated[Caller, at_least(CallerRole.PSP_ADMIN)]
SystemOperator = Annotated[Caller, at_least(CallerRole.SYSTEM_OP)]


async def idempotency_key(request: Request, _caller: AnyCaller) -> Key:
    """Return the idempotency key of a request.

    The caller is authenticated first, so that an unknown caller does not learn whether a key is valid. Fast routes declare
    this dependency without running it, because they derive the key from the validated body (``api.fast_route``).
    """
    secret = runtime_of(request).settings.secret_key.get_secret_value().encode()
    key = request.state.key = key_of(request, key_value(request), body=await request.body(), secret=secret)
    return key


IdempotencyKey = Annotated[Key, Depends(idempotency_key)]


# The two functions below are async although they await nothing: FastAPI calls a plain function in a thread, which took a
# sixth of the API's CPU time.
async def request_id(request: Request) -> str:
    """Return the id of this request, which the answer has as ``X-Request-Id``."""
    value: str = request.state.request_id
    return value


async def current_runtime(request: Request) -> Runtime:
    """Return the long-lived objects of this process."""
    return runtime_of(request)


RequestId = Annotated[str, Depends(request_id)]
RuntimeDep = Annotated[Runtime, Depends(current_runtime)]


async def reason(body: ReasonIn | None = None) -> str | None:
    """Return the reason in the body, or ``None``."""
    return body.reason if body else None


Reason = Annotated[str | None, Depends(reason)]
EntityId = Annotated[str, Path(pattern=ID_PATTERN, description="An id from an answer")]

DEFAULT_LIMIT, MAX_LIMIT = 50, 200


@dataclass(frozen=True, slots=True)
class Page:
    """The requested page of a list: up to ``limit`` entries, older than the entry ``before`` if there is a cursor."""

    limit: int
    before: str | None


async def page(
    limit: Annotated[
        WholeNumber, Query(ge=1, le=MAX_LIMIT, description="The largest number of entries to return")
    ] = DEFAULT_LIMIT,
    cursor: Annotated[str | None, Query(pattern=ID_PATTERN, description="`next_cursor` of the previous page")] = None,
) -> Page:
    """Return the page that ``limit`` and ``cursor`` select."""
    return Page(limit, cursor)


CurrentPage = Annotated[Page, Depends(page)]
