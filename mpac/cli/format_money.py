"""Format amounts for people, with the symbol and the decimals of their currency.

``workflows.money`` takes 0.2 s to import, so it is imported only by commands that print amounts.
"""


def format_money(amount: int | None, currency: str) -> str:
    """Format an amount in minor units as English does: ¥1,150, $11.50, -¥500, or a dash for ``None``."""
    from workflows.money import Money, currencies  # noqa: PLC0415 - see above

    if amount is None:
        return "—"
    return Money(amount, currency).text("en") if currency in currencies() else f"{amount:,} {currency}"


def format_signed(amount: int | None, currency: str) -> str:
    """Return ``amount`` as ``format_money`` does, with a plus sign above zero."""
    return f"+{format_money(amount, currency)}" if amount is not None and amount > 0 else format_money(amount, currency)


def format_yen(amount: int) -> str:
    """Return ``amount`` yen as ``format_money`` does."""
    return format_money(amount, "JPY")
