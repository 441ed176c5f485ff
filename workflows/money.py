"""Represent money as an integer of minor units with its currency.

1000 JPY is one thousand yen and 1000 USD is ten dollars: the number of decimals of a currency comes from the table of ISO
4217, never from a literal factor of 100. CLDR (Babel) is used for printing only. Its decimals are those of everyday prices,
which are fewer for thirteen currencies (1050.25 RSD is 105025 minor units, although no shop writes the .25). Floats are never
used.
"""

from dataclasses import dataclass
from decimal import Decimal
from functools import cache

from babel.core import Locale
from babel.numbers import NumberPattern, parse_pattern
from iso4217 import raw_xml

MAX_AMOUNT = 999_999_999_999
"""The largest amount of a payment in minor units: far above any sale and far below 2^53, so JSON parsers read it exactly."""

MAX_MOVED = 2 * MAX_AMOUNT
"""The largest amount that one payment moves: its amount and its tip."""


UNITS_OF_ACCOUNT = frozenset({"UYW", "XAD"})
"""Entries of ISO 4217 that are not used for payments."""


@cache
def _exponents() -> dict[str, int]:
    """Return the number of decimals of each currency in use.

    Funds and entries without a minor unit (gold, XXX, XTS) are left out.
    """
    found: dict[str, int] = {}
    for entry in raw_xml.iterfind("CcyTbl/CcyNtry"):
        code, decimals, name = entry.findtext("Ccy"), entry.findtext("CcyMnrUnts", ""), entry.find("CcyNm")
        is_fund = name is not None and name.get("IsFund") == "true"
        if code and decimals.isdigit() and not is_fund and code not in UNITS_OF_ACCOUNT:
            found[code] = int(decimals)
    return found


@cache
def currencies() -> frozenset[str]:
    """Return the ISO 4217 codes of the currencies in use."""
    return frozenset(_exponents())


def exponent(currency: str) -> int:
    """Return the number of decimals of ``currency``: 0 for JPY, 2 for USD, 3 for KWD.

    Raises ``KeyError`` if the currency is not in use.
    """
    return _exponents()[currency]


@cache
def _pattern(currency: str, locale: str) -> NumberPattern:
    """Return the pattern of ``locale`` for amounts of ``currency``, with all decimals of the currency."""
    pattern = parse_pattern(Locale.parse(locale).currency_formats["standard"].pattern)
    pattern.frac_prec = (exponent(currency), exponent(currency))
    return pattern


@dataclass(frozen=True, slots=True, order=False)
class Money:
    """An amount of money: ``amount`` minor units of ``currency``. Adding two currencies raises ``ValueError``."""

    amount: int
    currency: str

    def __post_init__(self) -> None:
        if type(self.amount) is not int:
            raise TypeError("an amount is a whole number of minor units")
        if self.currency not in currencies():
            raise ValueError(f"{self.currency} is not a currency in use")

    def __add__(self, other: "Money") -> "Money":
        return Money(self.amount + self._amount_in_same_currency(other), self.currency)

    def __sub__(self, other: "Money") -> "Money":
        return Money(self.amount - self._amount_in_same_currency(other), self.currency)

    def _amount_in_same_currency(self, other: "Money") -> int:
        if other.currency != self.currency:
            raise ValueError(f"{self.currency} and {other.currency} do not add up")
        return other.amount

    def split(self, weights: list[int]) -> "list[Money]":
        """Return parts in proportion to ``weights`` that add up to the whole exactly.

        The remaining units go to the parts with the largest remainders, earlier parts first. Raises ``ValueError`` if no
        weight is positive, or a weight is negative.
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
        """Return the exact amount in major units: ``Money(1050, "USD").decimal() == Decimal("10.50")``."""
        return Decimal(self.amount).scaleb(-exponent(self.currency))

    def text(self, locale: str = "en") -> str:
        """Return the amount with its currency, as it is written in ``locale``."""
        pattern = _pattern(self.currency, locale)
        return str(pattern.apply(self.decimal(), locale, currency=self.currency, currency_digits=False))
