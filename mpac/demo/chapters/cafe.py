"""Beside the terminals: a table of three at a cafe. One order, three bills, three ways to pay; later a cake goes back."""

from typing import Any

import aiohttp

from mpac.demo.guests import BrokeOff, Guests
from mpac.demo.stage import Stage
from mpac.terminal import Terminal

TITLE = "A table of three at a cafe"
TABLE = "7"
TAX_RATE = "0.10"
CAKE = 680  # without tax
CAKE_WITH_TAX = 748
ITEMS = [
    {"name": "Spaghetti", "quantity": 3, "unit_price": 1_200, "tax_rate": TAX_RATE},
    {"name": "Coffee", "quantity": 3, "unit_price": 450, "tax_rate": TAX_RATE},
    {"name": "Cheesecake", "quantity": 1, "unit_price": CAKE, "tax_rate": TAX_RATE},
]
CASH: dict[str, Any] = {"type": "cash", "cash_received": 3_000}
CODE = {"type": "qr", "mode": "mpm"}
CARD = {"type": "card", "provider": "sandbox", "token": "tok_cafe"}


async def play(stage: Stage) -> list[str]:
    """Order, split, pay, give back; returns what does not add up."""
    # What the first payment of all does not need, this story does; and that payment is not to wait for a table of three.
    await stage.wait_for_rest()
    run = stage.run
    async with aiohttp.ClientSession() as session:
        terminal = Terminal(run["api_url"], stage.seed["devices"][0], session=session)
        try:
            guests = Guests(
                terminal,
                session=session,
                sandbox_url=run["sandbox_url"],
                control_key=run["sandbox_control_key"],
            )
            return await _evening(stage, guests)
        except BrokeOff as error:
            return [f"the table at the cafe could not go on: {error}"]


async def _evening(stage: Stage, guests: Guests) -> list[str]:
    order = await guests.post(
        "/orders", {"order_type": "dine_in", "table_number": TABLE, "items": ITEMS, "submit": True}
    )
    whole = await guests.post("/bills", {"order_id": order["id"]})
    bills = (await guests.post(f"/bills/{whole['id']}/split", {"parts": 3}))["data"]
    amounts = [bill["total_amount"] for bill in bills]
    _say(
        stage,
        f"three spaghetti, three coffees and a cheesecake come to {order['total_amount']:,} yen, {order['tax_amount']:,} of "
        f"it tax. Three bills, please: {' + '.join(f'{amount:,}' for amount in amounts)}.",
    )
    cash, code, card = [await guests.pay(bill, how) for bill, how in zip(bills, (CASH, CODE, CARD), strict=True)]
    paid = await guests.read(f"/orders/{order['id']}")
    _say(
        stage,
        f"{cash['amount']:,} in cash (out of {cash['cash_received']:,}, {cash['change_amount']:,} back), "
        f"{code['amount']:,} by a QR code that a guest's telephone pays, {card['amount']:,} by card: "
        f"the order is {paid.get('status')}.",
    )
    refund = await guests.give_back(card["id"], amount=CAKE_WITH_TAX, reason="the cheesecake went back")
    given = await guests.read(f"/payments/{card['id']}")
    _say(
        stage,
        f"the cheesecake goes back to the kitchen, and {refund['amount']:,} yen to the card ({refund['status']}); "
        f"{given.get('captured_amount', 0) - given.get('refunded_amount', 0):,} of {card['amount']:,} are kept.",
    )
    facts = {
        "the three bills come to the order": sum(amounts) == whole["total_amount"] == order["total_amount"],
        "all three payments are completed": {cash["status"], code["status"], card["status"]} == {"completed"},
        "the order is paid by its last bill": paid.get("status") == "paid",
        "the refund is completed": (refund["status"], given.get("refunded_amount")) == ("completed", CAKE_WITH_TAX),
    }
    return [f"at the cafe it is not true that {fact}" for fact, is_true in facts.items() if not is_true]


def _say(stage: Stage, sentence: str) -> None:
    stage.screen.say(f"At the cafe, table {TABLE}: {sentence}", style="magenta")
