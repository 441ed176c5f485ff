"""The sales of the terminals: each kind of sale, what goes wrong with it, and how often.

The kinds form a deck with some copies of each (``DECK``). It is shuffled and dealt repeatedly, so that a long demonstration
has each kind in these proportions. Each behaviour is dealt once before (``OPENING``), so that even a short demonstration has
a double tap, lost answers and cancels. ``fate`` is the sandbox provider's term for what happens to the call.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count
from typing import Any


class Method(StrEnum):
    """How the customer pays, in the short form of the tables, which must fit 80 columns."""

    CASH = "cash"
    TERMINAL_CARD = "card, terminal"  # run by the terminal's own card application
    EMONEY = "e-money"
    QR_CPM = "QR by customer"  # the customer shows the code
    QR_MPM = "QR by store"
    TOKEN_CARD = "card, token"  # noqa: S105 - charged by the provider that stores the card; not a password


class Behaviour(StrEnum):
    """The behaviour of the cashier or the network during a sale."""

    PLAIN = "plain"
    DOUBLE_TAP = "double tap"  # the same key twice, at the same moment
    LOST_THEN_REPEATED = "lost answer, repeated"  # the connection breaks; the terminal repeats the request with its key
    LOST_THEN_FOUND = "lost answer, looked up"  # the connection breaks; the terminal looks up its client_reference
    CANCEL_AT_ONCE = "cancelled at once"
    CANCEL_SHOWN = "cancelled while the code was shown"
    CANCEL_AS_PAID = "cancelled while the customer paid"


@dataclass(frozen=True, slots=True)
class SaleKind:
    """One kind of sale, and how many copies of it are in the deck."""

    method: Method
    copies: int
    behaviour: Behaviour = Behaviour.PLAIN
    fate: str = ""
    is_declined_by_terminal: bool = False


def _kinds_of(method: Method, *kinds: tuple[int, Behaviour, str]) -> tuple[SaleKind, ...]:
    return tuple(SaleKind(method, copies, behaviour, fate) for copies, behaviour, fate in kinds)


PLAIN, TWICE = Behaviour.PLAIN, Behaviour.DOUBLE_TAP
REPEATED, FOUND = Behaviour.LOST_THEN_REPEATED, Behaviour.LOST_THEN_FOUND

DECK = (
    *_kinds_of(
        Method.CASH,
        (8, PLAIN, ""),
        (2, TWICE, ""),
        (1, REPEATED, ""),
        (1, FOUND, ""),
        (1, Behaviour.CANCEL_AT_ONCE, ""),
    ),
    *_kinds_of(Method.TERMINAL_CARD, (6, PLAIN, ""), (1, TWICE, ""), (1, REPEATED, ""), (1, FOUND, "")),
    SaleKind(Method.TERMINAL_CARD, 1, is_declined_by_terminal=True),
    *_kinds_of(Method.EMONEY, (5, PLAIN, ""), (1, TWICE, ""), (1, FOUND, "")),
    SaleKind(Method.EMONEY, 1, is_declined_by_terminal=True),
    *_kinds_of(
        Method.QR_CPM,
        (5, PLAIN, ""),
        (1, TWICE, ""),
        (1, REPEATED, ""),
        (1, Behaviour.CANCEL_AT_ONCE, ""),
        (1, PLAIN, "decline:insufficient_funds"),
        (1, PLAIN, "timeout_before_charge"),
        (1, TWICE, "timeout_after_charge"),
        (1, PLAIN, "reset_after_charge"),
        (1, PLAIN, "garbage_after_charge"),
        (1, PLAIN, "unavailable:2"),
        (1, PLAIN, "pending:900"),
    ),
    *_kinds_of(
        Method.TOKEN_CARD,
        (5, PLAIN, ""),
        (1, TWICE, ""),
        (1, FOUND, ""),
        (1, Behaviour.CANCEL_AT_ONCE, ""),
        (1, PLAIN, "decline:card_expired"),
        (1, PLAIN, "error_500_before_charge"),
        (1, REPEATED, "timeout_after_charge"),
        (1, PLAIN, "error_500_after_charge"),
        (1, PLAIN, "not_found_lie:2500"),
        (1, PLAIN, "rate_limited:1"),
        (1, PLAIN, "slow:400"),
    ),
    *_kinds_of(
        Method.QR_MPM,
        (5, PLAIN, ""),
        (1, TWICE, ""),
        (1, REPEATED, ""),
        (2, Behaviour.CANCEL_SHOWN, ""),
        (1, Behaviour.CANCEL_AS_PAID, ""),
        (1, PLAIN, "decline:insufficient_funds"),
        (1, PLAIN, "timeout_after_charge"),
    ),
)


FIRST = SaleKind(Method.QR_CPM, copies=0)
"""The first sale. Nothing goes wrong with it, because it shows how soon the first payment is completed."""


OPENING = tuple(
    next(kind for kind in DECK if kind.behaviour is behaviour)
    for behaviour in Behaviour
    if behaviour is not Behaviour.PLAIN
)
"""One sale of each behaviour except the plain one, dealt after the first sale."""


@dataclass(frozen=True, slots=True)
class Sale:
    """One sale: its kind, reference and request."""

    kind: SaleKind
    reference: str
    body: dict[str, Any] = field(repr=False)


def sales(mark: str, *, rng: random.Random) -> Iterator[Sale]:
    """Yield sales without end, ``FIRST`` and ``OPENING`` first.

    ``mark`` makes the references of the sales unique to this run.
    """
    numbers = count(1)
    deck = [FIRST, *OPENING]
    while True:
        for kind in deck:
            reference = f"demo-{mark}-{next(numbers):05}"
            yield Sale(kind, reference, _body(kind, reference, rng))
        deck = [kind for kind in DECK for _ in range(kind.copies)]
        rng.shuffle(deck)


def _body(kind: SaleKind, reference: str, rng: random.Random) -> dict[str, Any]:
    amount = rng.randrange(12, 1_200) * 10
    tip = rng.choice((0, 0, 0, 100, 200))
    body = {"amount": amount, "tip_amount": tip, "client_reference": reference, "method": _method(kind, amount + tip)}
    return {**body, "metadata": {"sandbox": kind.fate}} if kind.fate else body


def _method(kind: SaleKind, due: int) -> dict[str, Any]:
    result = "declined" if kind.is_declined_by_terminal else "approved"
    methods: dict[Method, dict[str, Any]] = {
        Method.CASH: {"type": "cash", "cash_received": -(-due // 1_000) * 1_000},
        Method.TERMINAL_CARD: {"type": "card", "result": result, "card_brand": "visa", "entry_method": "contactless"},
        Method.EMONEY: {"type": "emoney", "result": result, "card_brand": "suica"},
        Method.QR_CPM: {"type": "qr", "mode": "cpm", "token": "shown-by-the-customer"},
        Method.QR_MPM: {"type": "qr", "mode": "mpm"},
        Method.TOKEN_CARD: {"type": "card", "provider": "sandbox", "token": "tok_demo"},
    }
    return methods[kind.method]
