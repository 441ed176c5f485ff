"""The sales of the day, and what the provider's first statement will report of them.

``statement_break`` is the break that the statement will have at that sale (``mpac.devtools.statement.inject_breaks``). If the
statement leaves a sale out, the break is ``missing_at_provider`` for a sale made more than the provider's 24 hours before,
and ``expected`` for a later one.
"""

from dataclasses import dataclass
from typing import Any

CPM: dict[str, Any] = {"type": "qr", "mode": "cpm", "token": "shown-by-the-customer"}
MPM: dict[str, Any] = {"type": "qr", "mode": "mpm"}
SUICA: dict[str, Any] = {"type": "emoney", "result": "approved", "card_brand": "suica", "card_arn": "S26110100640"}

EXPECTED = "expected"
LEFT_OUT = "missing_at_provider"
SAME_AMOUNT = 980
"""The amount of a sale that the provider reports under a reference that we do not know.

It causes two breaks: the statement lacks our sale, and has another of the same amount that is unknown to us.
"""


def card(name: str) -> dict[str, Any]:
    """Return a card that the provider stores under ``name``; the brand follows from the name."""
    return {"type": "card", "provider": "sandbox", "token": f"tok_{name}"}


def cash(received: int) -> dict[str, Any]:
    """Return a payment method of ``received`` yen in cash."""
    return {"type": "cash", "cash_received": received}


def slip(brand: str, arn: str) -> dict[str, Any]:
    """Return a card that the terminal's own application charged.

    ``arn`` is the acquirer's reference number.
    """
    return {"type": "card", "result": "approved", "card_brand": brand, "entry_method": "chip", "card_arn": arn}


@dataclass(frozen=True, slots=True)
class PlannedSale:
    """One sale. Later scenes refer to it by ``name``."""

    amount: int
    method: dict[str, Any]
    statement_break: str = ""
    name: str = ""


VISA_TWICE = "V26110105280"
NOON: dict[str, tuple[PlannedSale, ...]] = {
    "Shibuya": (
        PlannedSale(SAME_AMOUNT, CPM, LEFT_OUT),
        PlannedSale(SAME_AMOUNT, CPM, "missing_internally"),
        PlannedSale(2_640, card("aoki"), "amount_mismatch"),
        PlannedSale(1_150, MPM, "currency_mismatch"),
        PlannedSale(1_720, CPM, "status_mismatch"),
        PlannedSale(3_300, card("baba"), "fee_mismatch"),
        PlannedSale(890, CPM, "duplicate_provider"),
        PlannedSale(1_260, MPM, "date_mismatch"),
        PlannedSale(2_200, card("chiba"), name="back before midnight"),
        PlannedSale(1_540, CPM, name="back after midnight"),
        PlannedSale(5_280, slip("visa", VISA_TWICE)),
        PlannedSale(5_280, slip("visa", VISA_TWICE)),  # the cashier recorded one slip twice
        PlannedSale(3_960, slip("mastercard", "M26110103960")),
        PlannedSale(640, SUICA),
        PlannedSale(1_000, cash(1_000)),
        PlannedSale(2_350, cash(5_000)),
    ),
    "Shinjuku": (
        PlannedSale(1_480, CPM),
        PlannedSale(760, CPM),
        PlannedSale(2_860, card("doi")),
        PlannedSale(1_320, cash(2_000)),
    ),
}
EVENING: dict[str, tuple[PlannedSale, ...]] = {
    "Shibuya": (PlannedSale(1_830, CPM, EXPECTED), PlannedSale(4_120, card("endo")), PlannedSale(4_800, cash(5_000))),
    "Shinjuku": (PlannedSale(1_990, MPM), PlannedSale(880, cash(1_000))),
    "Ueno": (
        PlannedSale(8_640, card("fujii")),
        PlannedSale(12_300, card("goto")),
        PlannedSale(5_420, CPM),
        PlannedSale(6_600, cash(10_000)),
    ),
}
AFTER_MIDNIGHT: dict[str, tuple[PlannedSale, ...]] = {
    "Ueno": (PlannedSale(3_780, CPM), PlannedSale(2_400, cash(2_400)))
}
LATE = PlannedSale(1_390, MPM)
"""A sale whose code is shown before midnight and paid after midnight."""

REFUND_AMOUNTS = {"back before midnight": 700, "back after midnight": 1_540}
CASH_SHORT = 500
