"""Routes of the ledger."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.dependencies import CurrentPage, MerchantAdmin
from api.openapi.error_responses import error_responses
from api.responses import page_response
from api.schemas.base import Id
from api.schemas.ledger import AccountsOut, JournalsOut
from workflows.ledger.queries import list_accounts, list_journals

router = APIRouter(prefix="/ledger", tags=["ledger"])


@router.get("/accounts", response_model=AccountsOut, responses=error_responses(401, 403))
async def get_accounts(caller: MerchantAdmin, page: CurrentPage) -> Response:
    """List the accounts that you may see, with their balances."""
    rows = await list_accounts(caller=caller, limit=page.limit + 1, before=page.before)
    return page_response(rows, page, dict)


@router.get("/journals", response_model=JournalsOut, responses=error_responses(401, 403))
async def get_journals(
    caller: MerchantAdmin, page: CurrentPage, payment_id: Annotated[Id | None, Query()] = None
) -> Response:
    """List the journals that you may see, newest first, with their entries.

    With `payment_id`, only those of the payment and of its refunds.
    """
    rows = await list_journals(caller=caller, limit=page.limit + 1, before=page.before, payment_id=payment_id)
    return page_response(rows, page, dict)
