"""Play a table of three guests at a cafe: one order, three bills, three payment methods, and later a refund of a cake.

It is played while the terminals of the first chapter sell. One card is declined, so that the rules about failed payments and
released reservations have something to check.
"""

from typing import Any

from mpac.cli.format_money import format_yen
from mpac.demo.environment import DemoEnvironment
from mpac.demo.guest_client import GuestClient
from mpac.demo.http_client import CallerFactory
from mpac.demo.problems import Problem, broken_promise

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
    """Order, split the bill, pay and refund; return the problems.

    Raises ``UnexpectedAnswer`` and ``TimedOut``.
    """
    # This chapter also needs the processes that the first payment does not need, and it must not delay that payment.
    await demo.wait_for_rest()
    run = demo.run
    async with CallerFactory.open() as callers:
        phone = callers.provider(run["sandbox_url"], run["sandbox_control_key"], name="a guest's telephone")
        client = GuestClient(callers.terminal(run["api_url"], demo.seed["devices"][0]), phone=phone)
        return await _play_evening(demo, client)


async def _play_evening(demo: DemoEnvironment, client: GuestClient) -> list[Problem]:
    order = await client.post(
        "/orders", {"order_type": "dine_in", "table_number": TABLE, "items": ITEMS, "submit": True}
    )
    whole = await client.post("/bills", {"order_id": order["id"]})
    bills = (await client.post(f"/bills/{whole['id']}/split", {"parts": 3}))["data"]
    amounts = [bill["total_amount"] for bill in bills]
    _narrate(
        demo,
        f"three spaghetti, three coffees and a cheesecake cost {format_yen(order['total_amount'])}, "
        f"{format_yen(order['tax_amount'])} of it tax. Three bills, please: {' + '.join(map(format_yen, amounts))}.",
    )
    cash, code = [await client.pay(bill, how) for bill, how in zip(bills[:2], (CASH, CODE), strict=True)]
    refused = await client.pay(bills[2], CARD, metadata=DECLINED)
    card = await client.pay(bills[2], CARD)
    paid = await client.read(f"/orders/{order['id']}")
    _narrate(
        demo,
        f"{format_yen(cash['amount'])} in cash (out of {format_yen(cash['cash_received'])}, "
        f"{format_yen(cash['change_amount'])} back), "
        f"{format_yen(code['amount'])} by a QR code that a guest's telephone pays. The third guest's card is declined "
        f"({refused['status']}), another card pays {format_yen(card['amount'])}: the order is {paid['status']}.",
    )
    refund = await client.refund(card["id"], amount=CAKE_WITH_TAX, reason="the cheesecake went back")
    given = await client.read(f"/payments/{card['id']}")
    _narrate(
        demo,
        f"the cheesecake goes back to the kitchen, and {format_yen(refund['amount'])} to the card ({refund['status']}); "
        f"the cafe keeps {format_yen(given['captured_amount'] - given['refunded_amount'])} of {format_yen(card['amount'])}.",
    )
    facts = {
        "the three bills add up to the order": sum(amounts) == whole["total_amount"] == order["total_amount"],
        "a declined card takes nothing": (refused["status"], refused["captured_amount"]) == ("failed", 0),
        "all three payments are completed": {cash["status"], code["status"], card["status"]} == {"completed"},
        "the order is paid by its last bill": paid["status"] == "paid",
        "the refund is completed": (refund["status"], given["refunded_amount"]) == ("completed", CAKE_WITH_TAX),
    }
    return [broken_promise(f"at the cafe it is not true that {fact}") for fact, is_true in facts.items() if not is_true]


def _narrate(demo: DemoEnvironment, sentence: str) -> None:
    demo.console.say(f"At the cafe, table {TABLE}: {sentence}", style="magenta")
