"""Beside the terminals, a table of three at a cafe: one order, three bills, three methods; later a cake is refunded.

One card is declined, so that the rules about failed payments and released reservations have something to check.
"""

from typing import Any

from mpac.cli.format_money import yen
from mpac.demo.environment import DemoEnvironment
from mpac.demo.guest_client import TableClient
from mpac.demo.http_client import Calls
from mpac.demo.problems import Problem, broken

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
DECLINED = {"sandbox": "decline:card_expired"}


EXERCISES = (
    "careful attempts of a refund",
    "proven success of a refund",
    "known outcomes of a refund",
    "proven failure of a refund",
    "refund sums",
    "refunds of their payments",
    "counted versions of a bill",
    "counted versions of a refund",
    "counted versions of an order",
    "legal edges of a bill",
    "legal edges of a refund",
    "legal edges of an order",
    "history of a bill",
    "history of a refund",
    "history of an order",
    "bill balances",
    "bill parts",
    "bill sums",
    "billed once",
    "counted once",
    "paid orders",
    "I3",
)


async def play(demo: DemoEnvironment) -> list[Problem]:
    """Order, split, pay and refund; return what does not add up. Raises ``UnexpectedAnswer``, ``TimedOut``."""
    # What the first payment of all does not need, this story does; and that payment is not to wait for a table of three.
    await demo.wait_for_rest()
    run = demo.run
    async with Calls.open() as calls:
        phone = calls.provider(run["sandbox_url"], run["sandbox_control_key"], name="a guest's telephone")
        client = TableClient(calls.terminal(run["api_url"], demo.seed["devices"][0]), phone=phone)
        return await _evening(demo, client)


async def _evening(demo: DemoEnvironment, client: TableClient) -> list[Problem]:
    order = await client.post(
        "/orders", {"order_type": "dine_in", "table_number": TABLE, "items": ITEMS, "submit": True}
    )
    whole = await client.post("/bills", {"order_id": order["id"]})
    bills = (await client.post(f"/bills/{whole['id']}/split", {"parts": 3}))["data"]
    amounts = [bill["total_amount"] for bill in bills]
    _say(
        demo,
        f"three spaghetti, three coffees and a cheesecake cost {yen(order['total_amount'])}, {yen(order['tax_amount'])} of "
        f"it tax. Three bills, please: {' + '.join(map(yen, amounts))}.",
    )
    cash, code = [await client.pay(bill, how) for bill, how in zip(bills[:2], (CASH, CODE), strict=True)]
    refused = await client.pay(bills[2], CARD, metadata=DECLINED)
    card = await client.pay(bills[2], CARD)
    paid = await client.read(f"/orders/{order['id']}")
    _say(
        demo,
        f"{yen(cash['amount'])} in cash (out of {yen(cash['cash_received'])}, {yen(cash['change_amount'])} back), "
        f"{yen(code['amount'])} by a QR code that a guest's telephone pays. The third guest's card is declined "
        f"({refused['status']}), another card pays {yen(card['amount'])}: the order is {paid['status']}.",
    )
    refund = await client.give_back(card["id"], amount=CAKE_WITH_TAX, reason="the cheesecake went back")
    given = await client.read(f"/payments/{card['id']}")
    _say(
        demo,
        f"the cheesecake goes back to the kitchen, and {yen(refund['amount'])} to the card ({refund['status']}); "
        f"the cafe keeps {yen(given['captured_amount'] - given['refunded_amount'])} of {yen(card['amount'])}.",
    )
    facts = {
        "the three bills add up to the order": sum(amounts) == whole["total_amount"] == order["total_amount"],
        "a declined card takes nothing": (refused["status"], refused["captured_amount"]) == ("failed", 0),
        "all three payments are completed": {cash["status"], code["status"], card["status"]} == {"completed"},
        "the order is paid by its last bill": paid["status"] == "paid",
        "the refund is completed": (refund["status"], given["refunded_amount"]) == ("completed", CAKE_WITH_TAX),
    }
    return [broken(f"at the cafe it is not true that {fact}") for fact, is_true in facts.items() if not is_true]


def _say(demo: DemoEnvironment, sentence: str) -> None:
    demo.screen.say(f"At the cafe, table {TABLE}: {sentence}", style="magenta")
