"""Name, for each verb of a step, a table and the condition of rows ``e`` with which the step is likely to succeed.

The condition is only a preference (``Shop._one``): one step in four uses any row, and the product decides whether it is
allowed. Without it most steps would be refused for trivial reasons, and situations that need several steps would never
occur.
"""

_BILLS = "FROM bill_orders bo JOIN bills b ON b.id = bo.bill_id AND b.status <> 'voided' WHERE bo.order_id = e.id"
_OWED = f"SELECT {_BILLS} AND b.status <> 'paid'"
_KEPT = """SELECT FROM bill_orders bo JOIN payments p ON p.bill_id = bo.bill_id
    WHERE bo.order_id = e.id AND p.captured_amount > p.refunded_amount"""
_UNDER_WAY = "e.status IN ('pending', 'processing')"
_UNTOUCHED = "e.status = 'unpaid' AND e.reserved_amount = 0"

SUITED: dict[str, tuple[str, str]] = {
    "submit": ("orders", "e.status = 'draft'"),
    "change": ("orders", f"e.status IN ('draft', 'open') AND NOT EXISTS (SELECT {_BILLS})"),
    "cancel order": (
        "orders",
        f"e.status IN ('draft', 'open', 'paid') AND NOT EXISTS ({_OWED}) AND NOT EXISTS ({_KEPT})",
    ),
    "complete": ("orders", "e.status = 'paid'"),
    "bill": ("orders", f"e.status = 'open' AND NOT EXISTS (SELECT {_BILLS})"),
    "combine": ("orders", f"e.status = 'open' AND NOT EXISTS (SELECT {_BILLS})"),
    "split": ("bills", f"{_UNTOUCHED} AND e.total_amount > 1"),
    "void": ("bills", _UNTOUCHED),
    "pay": ("bills", "e.status IN ('unpaid', 'partially_paid') AND e.paid_amount + e.reserved_amount < e.total_amount"),
    "work": ("payments", _UNDER_WAY),
    "cancel": ("payments", _UNDER_WAY),
    "refund": ("payments", "e.status IN ('completed', 'refunded') AND e.refund_reserved < e.captured_amount"),
    "give back": ("refunds", f"{_UNDER_WAY} AND NOT e.needs_action"),
    "report": ("refunds", "e.needs_action"),
}
