"""Tables of the day on the screen: what a settlement is made of, how its difference is explained, how breaks ended."""

from collections.abc import Iterable
from typing import Any

from rich.table import Table

AMOUNTS = ("gross", "refunds", "fees", "adjustments", "net")
SIDES = ("ours", "theirs", "difference", "fee_difference")


def _table(names: Iterable[str], numbers: Iterable[str]) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)
    for name in names:
        table.add_column(name, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def categories(summary: dict[str, Any]) -> Table:
    """A run's summary: category by category, and the sums that they explain."""
    table = _table(["category"], ["lines", "ours", "theirs", "difference", "of fees"])
    for name, part in summary["categories"].items():
        table.add_row(name, f"{part['count']:,}", *(f"{part[side]:,}" for side in SIDES))
    sums = [summary["ours"]["amount"], summary["theirs"]["amount"], summary["difference"], summary["fee_difference"]]
    count = sum(part["count"] for part in summary["categories"].values())
    table.add_row("all", f"{count:,}", *(f"{value:,}" for value in sums), style="bold")
    return table


def breakdown(settlement: dict[str, Any]) -> Table:
    """Totals by method, provider and brand."""
    table = _table(["method", ""], ["lines", *AMOUNTS])
    for method, group in settlement["breakdown"].items():
        keyed = {"": group} if "count" in group else group
        for name, row in keyed.items():
            if row["count"]:
                table.add_row(method, name, f"{row['count']:,}", *(f"{row[amount]:,}" for amount in AMOUNTS))
    totals = settlement["totals"]
    table.add_row("all", "", f"{totals['count']:,}", *(f"{totals[amount]:,}" for amount in AMOUNTS), style="bold")
    return table


def cash(settlement: dict[str, Any]) -> str:
    """The drawer in a sentence."""
    return (
        f"Cash: {settlement['cash_expected']:,} yen expected, {settlement['cash_actual']:,} counted, "
        f"{settlement['cash_discrepancy']:+,} ({settlement['note']})."
    )


def breaks(found: list[dict[str, Any]]) -> Table:
    """Each break and how it ended."""
    table = _table(["break"], ["ours", "theirs", "difference"])
    table.add_column("resolution", no_wrap=True)
    table.add_column("note", overflow="fold")
    for one in sorted(found, key=lambda row: str(row["category"])):
        amounts = ("—" if one[name] is None else f"{one[name]:,}" for name in ("ours", "theirs", "difference"))
        table.add_row(one["category"], *amounts, one["resolution"] or "open", one["note"] or "")
    return table


def settlements(rows: Iterable[tuple[str, dict[str, Any]]]) -> Table:
    """Days of stores, and where each of them stands."""
    table = _table(["store", "day", "status", "by"], ["lines", *AMOUNTS])
    for name, row in rows:
        by = (row["reconciled_by"] or "").partition("@")[0]
        totals = row["totals"]
        figures = [f"{totals['count']:,}", *(f"{totals[amount]:,}" for amount in AMOUNTS)]
        table.add_row(name, row["business_date"], row["status"], by, *figures)
    return table
