"""Money: an integer of minor units together with its currency, never apart.

1000 JPY is one thousand yen and 1000 USD is ten dollars: how many decimals a currency has comes from the CLDR tables
(Babel), never from a ``* 100`` of ours. There are no floats anywhere.
"""

from dataclasses import dataclass
from decimal import Decimal
from functools import cache

from babel.core import get_global
from babel.numbers import format_currency, get_currency_precision

MAX_AMOUNT = 999_999_999_999
"""The largest amount of one payment, minor units: far above any sale, far below 2^53, so JSON readers keep it exact."""

MAX_MOVED = 2 * MAX_AMOUNT
"""The largest amount that one payment moves: itself and its tip."""


@cache
def currencies() -> frozenset[str]:
    """The ISO 4217 codes in use today, as CLDR lists them per territory (funds and metals are no one's tender)."""
    tender = set()
    for entries in get_global("territory_currencies").values():
        tender |= {code for code, _start, end, is_tender in entries if end is None and is_tender}
    return frozenset(tender)


@cache
def exponent(currency: str) -> int:
    """Decimal places of ``currency``: 0 for JPY, 2 for USD, 3 for KWD."""
    return int(get_currency_precision(currency))


@dataclass(frozen=True, slots=True, order=False)
class Money:
    """``amount`` minor units of ``currency``. Adding two currencies is a mistake and says so (``ValueError``)."""

    amount: int
    currency: str

    def __post_init__(self) -> None:
        if type(self.amount) is not int:
            raise TypeError("an amount is a whole number of minor units")
        if self.currency not in currencies():
            raise ValueError(f"{self.currency} is not a currency in use")

    def __add__(self, other: "Money") -> "Money":
        return Money(self.amount + self._same(other), self.currency)

    def __sub__(self, other: "Money") -> "Money":
        return Money(self.amount - self._same(other), self.currency)

    def _same(self, other: "Money") -> int:
        if other.currency != self.currency:
            raise ValueError(f"{self.currency} and {other.currency} do not add up")
        return other.amount

    def split(self, weights: list[int]) -> "list[Money]":
        """Parts in proportion to ``weights`` that sum to the whole exactly (largest remainder, earlier parts first).

        Raises ``ValueError`` without a positive weight, or with a negative one.
        """
        total = sum(weights)
        if total <= 0 or min(weights) < 0:
            raise ValueError("parts need weights of zero or more, and one above zero")
        shares = [divmod(self.amount * weight, total) for weight in weights]
        left = self.amount - sum(quotient for quotient, _ in shares)
        by_remainder = sorted(range(len(shares)), key=lambda index: -shares[index][1])
        bonus = set(by_remainder[:left])
        return [Money(quotient + (index in bonus), self.currency) for index, (quotient, _) in enumerate(shares)]

    def decimal(self) -> Decimal:
        """The amount in major units, exact: ``Money(1050, "USD").decimal() == Decimal("10.50")``."""
        return Decimal(self.amount).scaleb(-exponent(self.currency))

    def text(self, locale: str = "en") -> str:
        """The amount as a person of ``locale`` writes it."""
        return str(format_currency(self.decimal(), self.currency, locale=locale))
