"""Render the tables of the day: the parts of a settlement, its explained difference, and the resolved breaks.

Every amount has its currency beside it, and a missing amount is a dash. Every table fits 80 columns.
"""

from collections.abc import Collection, Iterable
from typing import Any, Literal

from rich.table import Table

from mpac.cli.format_money import format_money, format_signed

AMOUNTS = ("gross", "refunds", "fees", "adjustments", "net")
SIDES = ("ours", "theirs", "difference", "fee_difference")

HEADINGS = {
    "gross": "sold",
    "refunds": "refunded",
    "adjustments": "corrected",
    "net": "net",
    "ours": "our\nbooks",
    "theirs": "provider's\nstatement",
    "difference": "difference",
    "fee_difference": "difference\nof fees",
}
"""Field → the heading of its column."""


def _table(names: Collection[str], numbers: Iterable[str], *, gap: int = 2) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, gap, 0, 0), pad_edge=False)
    titles = [*names, *(HEADINGS.get(name, name) for name in numbers)]
    vertical: Literal["bottom", "top"] = "bottom" if any("\n" in title for title in titles) else "top"
    for place, title in enumerate(titles):
        justify: Literal["left", "right"] = "left" if place < len(names) else "right"
        table.add_column(title, justify=justify, no_wrap=True, vertical=vertical)
    return table


def category_text(category: str) -> str:
    """Return a category as people read it: "amount mismatch"."""
    return category.replace("_", " ")


def categories(summary: dict[str, Any], currency: str) -> Table:
    """Return a run's summary by category, with the sums that the categories explain.

    The sums are in the settlement's currency. An amount that the provider states in another currency counts as zero on
    the provider's side.
    """
    table = _table(["what was found"], ["lines", *SIDES])
    for name, part in summary["categories"].items():
        table.add_row(
            category_text(name), f"{part['count']:,}", *(format_money(part[side], currency) for side in SIDES)
        )
    sums = [summary["ours"]["amount"], summary["theirs"]["amount"], summary["difference"], summary["fee_difference"]]
    count = sum(part["count"] for part in summary["categories"].values())
    table.add_row("all", f"{count:,}", *(format_money(value, currency) for value in sums), style="bold")
    return table


def breakdown(settlement: dict[str, Any]) -> Table:
    """Return totals by method, provider and brand."""
    currency = settlement["currency"]
    table = _table(["method", "by"], ["lines", *AMOUNTS])

    def add(method: str, name: str, row: dict[str, Any], style: str = "") -> None:
        table.add_row(
            method, name, f"{row['count']:,}", *(format_money(row[amount], currency) for amount in AMOUNTS), style=style
        )

    for method, group in settlement["breakdown"].items():
        keyed = {"": group} if "count" in group else group
        for name, row in keyed.items():
            if row["count"]:
                add(method, name, row)
    add("all", "", settlement["totals"], "bold")
    return table


def cash(settlement: dict[str, Any]) -> str:
    """Return the cash count as a sentence."""
    currency = settlement["currency"]
    expected, counted, difference = (settlement[name] for name in ("cash_expected", "cash_actual", "cash_discrepancy"))
    return (
        f"Cash in the drawer: {format_money(expected, currency)} expected, {format_money(counted, currency)} counted, "
        f"{format_signed(difference, currency)} ({settlement['note'] or 'no note'})."
    )


def breaks(found: list[dict[str, Any]]) -> Table:
    """Return each break and its resolution.

    The two sides may be in different currencies; the difference is in ours. A fee break compares fees, all others amounts.
    """
    table = _table(["break"], ["ours", "theirs", "difference"])
    table.add_column("resolved by", no_wrap=True, vertical="bottom")
    table.add_column("note", overflow="fold", vertical="bottom")
    for row in sorted(found, key=lambda row: str(row["category"])):
        currency = row["currency"]
        theirs = (row["their_line"] or {}).get("currency") or currency
        sides = (
            format_money(row["ours"], currency),
            format_money(row["theirs"], theirs),
            format_signed(row["difference"], currency),
        )
        resolution = category_text(row["resolution"] or "still open")
        table.add_row(category_text(row["category"]), *sides, resolution, row["note"] or "—")
    return table


def settlements(rows: Iterable[tuple[str, dict[str, Any]]]) -> Table:
    """Return the days of the stores, and who signed each of them off."""
    table = _table(["store", "day", "signed by"], AMOUNTS, gap=1)
    for name, row in rows:
        by = (row["reconciled_by"] or "nobody yet").partition("@")[0]
        totals = row["totals"]
        day = row["business_date"].partition("-")[2]
        amounts = (format_money(totals[amount], row["currency"]) for amount in AMOUNTS)
        table.add_row(name, day, by, *amounts)
    return table
