"""Tables of the day on the screen: what a settlement is made of, how its difference is explained, how breaks ended."""

from collections.abc import Collection, Iterable
from typing import Any, Literal

from rich.table import Table

AMOUNTS = ("gross", "refunds", "fees", "adjustments", "net")
SIDES = ("ours", "theirs", "difference", "fee_difference")


HEADINGS = {"adjustments": "adjust-\nments"}  # every table fits 80 columns


def _table(names: Collection[str], numbers: Iterable[str], *, gap: int = 2) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, gap, 0, 0), pad_edge=False)
    titles = [*names, *(HEADINGS.get(name, name) for name in numbers)]
    vertical: Literal["bottom", "top"] = "bottom" if any("\n" in title for title in titles) else "top"
    for title in titles:
        justify: Literal["left", "right"] = "left" if title in names else "right"
        table.add_column(title, justify=justify, no_wrap=True, vertical=vertical)
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
    table = _table(["store", "day", "status", "by"], AMOUNTS, gap=1)
    for name, row in rows:
        by = (row["reconciled_by"] or "").partition("@")[0]
        totals = row["totals"]
        day = row["business_date"].partition("-")[2]
        table.add_row(name, day, row["status"], by, *(f"{totals[amount]:,}" for amount in AMOUNTS))
    return table
