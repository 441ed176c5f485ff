"""Create orders over HTTP, as a terminal does."""

from typing import Any

import uuid_utils

from tests.factories import Tenant
from tests.harness import Answer, Api

RAMEN = {"name": "Ramen", "quantity": 2, "unit_price": 450, "tax_rate": "0.10"}
RICE = {"name": "Rice ball", "quantity": 1, "unit_price": 125, "tax_rate": "0.08"}


async def post_order(api: Api, as_: Tenant | str, *, key: str | None = None, **fields: Any) -> Answer:
    """Send POST /orders.

    By default the order is two ramen at a table, 990 yen with tax; ``fields`` change it.
    """
    body = {"order_type": "dine_in", "table_number": "7", "items": [RAMEN], **fields}
    return await api.post("/orders", body, as_=as_, key=key or uuid_utils.uuid7().hex)


async def open_order(api: Api, as_: Tenant | str, **fields: Any) -> dict[str, Any]:
    """Create an open order, and return it."""
    answer = await post_order(api, as_, submit=True, **fields)
    assert answer.status == 201, answer.body
    body: dict[str, Any] = answer.body
    return body
