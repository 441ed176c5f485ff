"""Write amounts for people: the amount with its currency and that currency's decimals.

``workflows.money`` takes 0.2 s to import, so it is imported only by commands that print amounts.
"""


def format_money(amount: int | None, currency: str) -> str:
    """Return ``amount`` minor units as English writes them (¥1,150, $11.50, -¥500); a dash without an amount."""
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
