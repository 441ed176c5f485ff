"""Compose a report as headings, fields and tables of text, ready to be rendered as HTML or PDF.

Amounts follow the conventions of the report's language and their currency; times are local times of the store.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from babel.dates import format_date, format_datetime

from workflows.money import Money, currencies
from workflows.reconciliation.classify import Category
from workflows.reports.load import ReportData
from workflows.reports.translations import Language, translate
from workflows.time_zones import zone

AMOUNTS = ("gross", "refunds", "fees", "adjustments", "net")


@dataclass(frozen=True, slots=True)
class ReportColumn:
    """A column: its heading, whether it contains numbers, and its share of the width."""

    title: str
    is_number: bool = False
    weight: int = 2


@dataclass(frozen=True, slots=True)
class ReportTable:
    """A table of text. ``sums`` is the last row, if there is one."""

    columns: list[ReportColumn]
    rows: list[list[str]]
    sums: list[str] | None = None


@dataclass(frozen=True, slots=True)
class ReportSection:
    """A section with a heading, and with fields (label and value), a table or a remark."""

    title: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    table: ReportTable | None = None
    remark: str = ""


@dataclass(frozen=True, slots=True)
class ReportDocument:
    """A report in its language, ready to be rendered."""

    language: Language
    title: str
    store: str
    fields: list[tuple[str, str]]
    sections: list[ReportSection]
    footer: str


class Composer:
    """A composer of one report, in one language, currency and time zone."""

    def __init__(self, data: ReportData, language: Language) -> None:
        self.data, self.language = data, language
        self.currency: str = data.settlement["currency"]
        self._zone = zone(data.settlement["time_zone"])

    def translate(self, name: str | None) -> str:
        """Return the label ``name`` in the report's language."""
        return translate(name, self.language)

    def money(self, amount: int | None, currency: str | None = None) -> str:
        """Return an amount of minor units as text, or a dash for ``None``."""
        currency = currency or self.currency
        if amount is None:
            return "—"
        return Money(amount, currency).text(self.language) if currency in currencies() else f"{amount} {currency}"

    def time(self, at: datetime | None) -> str:
        """Return a timestamp in the store's local time, or a dash for ``None``."""
        return format_datetime(at, "medium", tzinfo=self._zone, locale=self.language) if at else "—"

    def document(self) -> ReportDocument:
        """Return the whole report."""
        settlement = self.data.settlement
        return ReportDocument(
            language=self.language,
            title=self.translate("title"),
            store=self.data.store,
            fields=self._header(),
            sections=[
                ReportSection(self.translate("totals"), fields=self._totals()),
                ReportSection(self.translate("by_method"), table=self._groups()),
                ReportSection(self.translate("cash"), fields=self._cash()),
                self._reconciliation(),
                *self._uncompared(),
                self._breaks(),
            ],
            footer=f"{settlement['id']} · {self.translate('printed')} {self.time(self.data.at)}",
        )

    def _header(self) -> list[tuple[str, str]]:
        settlement = self.data.settlement
        start, end = self.time(settlement["start_at"]), self.time(settlement["end_at"])
        reconciled = self.time(settlement["reconciled_at"])
        if settlement["reconciled_by"]:
            reconciled += f" ({self.translate('by')} {settlement['reconciled_by']})"
        return [
            (self.translate("merchant"), self.data.merchant),
            (self.translate("store"), self.data.store),
            (self.translate("business_date"), format_date(settlement["business_date"], "full", locale=self.language)),
            (self.translate("period"), f"{start} – {end} ({settlement['time_zone']})"),
            (self.translate("status"), self.translate(f"{settlement['status']}_status")),
            (self.translate("closed"), self.time(settlement["closed_at"])),
            (self.translate("reconciled"), reconciled),
            (self.translate("settlement"), settlement["id"]),
        ]

    def _totals(self) -> list[tuple[str, str]]:
        settlement = self.data.settlement
        totals, doubt = settlement["totals"], settlement["in_doubt"]
        return [
            (self.translate("count"), f"{totals['count']:,}"),
            *((self.translate(name), self.money(totals[name])) for name in AMOUNTS),
            (self.translate("late"), f"{settlement['late_count']:,}"),
            (self.translate("in_doubt"), f"{doubt['count']:,} ({self.money(doubt['amount'])})"),
        ]

    def _groups(self) -> ReportTable:
        columns = [ReportColumn(self.translate(name)) for name in ("method", "provider", "brand")]
        columns.append(ReportColumn(self.translate("count"), is_number=True, weight=1))
        columns += [ReportColumn(self.translate(name), is_number=True) for name in AMOUNTS]
        rows = [self._group(group) for group in self.data.groups]
        totals = self.data.settlement["totals"]
        sums = [self.translate("sum"), "", "", f"{totals['count']:,}", *(self.money(totals[name]) for name in AMOUNTS)]
        return ReportTable(columns, rows, sums)

    def _group(self, group: dict[str, Any]) -> list[str]:
        net = group["gross"] - group["refunds"] - group["fees"] + group["adjustments"]
        names = [self.translate(group[name]) for name in ("method_type", "provider", "brand")]
        amounts = [self.money({**group, "net": net}[name]) for name in AMOUNTS]
        return [*names, f"{group['count']:,}", *amounts]

    def _cash(self) -> list[tuple[str, str]]:
        settlement = self.data.settlement
        actual = settlement["cash_actual"]
        return [
            (self.translate("cash_expected"), self.money(settlement["cash_expected"])),
            (self.translate("cash_actual"), self.translate("not_counted") if actual is None else self.money(actual)),
            (self.translate("cash_discrepancy"), self.money(settlement["cash_discrepancy"])),
            (self.translate("note"), settlement["note"] or "—"),
        ]

    def _reconciliation(self) -> ReportSection:
        run = self.data.run
        if run is None:
            return ReportSection(self.translate("reconciliation"), remark=self.translate("never_reconciled"))
        summary = run["summary"]
        columns = [
            ReportColumn(self.translate("category"), weight=3),
            ReportColumn(self.translate("count"), is_number=True, weight=1),
        ]
        names = ("ours", "theirs", "difference", "fee_difference")
        columns += [ReportColumn(self.translate(name), is_number=True) for name in names]
        parts = {str(category): summary["categories"][category] for category in Category}
        rows = [
            [self.translate(category), f"{part['count']:,}", *(self.money(part[name]) for name in names)]
            for category, part in parts.items()
            if part["count"]
        ]
        sums = [
            summary["ours"]["amount"],
            summary["theirs"]["amount"],
            summary["difference"],
            summary["fee_difference"],
        ]
        whole = [self.translate("sum"), f"{sum(part['count'] for part in parts.values()):,}", *map(self.money, sums)]
        remark = f"{self.translate('run')} {run['number']} · {self.time(run['at'])} · {run['caller_id']}"
        ended = summary.get("ended_by_statement") or {"count": 0}  # runs of an earlier release have none
        if ended["count"]:
            remark += f" · {self.translate('ended_by_statement')}: {ended['count']:,} ({self.money(ended['amount'])})"
        return ReportSection(self.translate("reconciliation"), table=ReportTable(columns, rows, whole), remark=remark)

    def _uncompared(self) -> list[ReportSection]:
        found = self.data.settlement["uncompared"]
        if not found or not found["count"]:
            return []
        fields = [
            (
                self.translate(lines["provider"]),
                f"{lines['count']:,} ({self.money(lines['amount'])})"
                + (f" · {self.translate('by_policy')}" if lines["is_policy"] else ""),
            )
            for lines in found["providers"]
        ]
        remark = self.translate("needs_acceptance") if found["needs_acceptance"] else ""
        if found["accepted_by"]:
            at = self.time(datetime.fromisoformat(found["accepted_at"]))
            remark = f"{self.translate('accepted')} · {at} · {found['accepted_by']}: {found['note']}"
        return [ReportSection(self.translate("uncompared"), fields=fields, remark=remark)]

    def _breaks(self) -> ReportSection:
        found = self.data.breaks
        if not found:
            return ReportSection(self.translate("breaks"), remark=self.translate("no_breaks"))
        columns = [
            ReportColumn(self.translate("category"), weight=3),
            ReportColumn(self.translate("reference"), weight=5),
        ]
        columns += [ReportColumn(self.translate(name), is_number=True) for name in ("ours", "theirs", "difference")]
        columns += [ReportColumn(self.translate("age"), is_number=True, weight=1)]
        columns += [ReportColumn(self.translate(name)) for name in ("owner", "resolution")]
        columns += [ReportColumn(self.translate("note"), weight=3)]
        more = self.data.break_count - len(found)
        return ReportSection(
            self.translate("breaks"),
            table=ReportTable(columns, [self._break(break_) for break_ in found]),
            remark=f"{more:,} {self.translate('more_breaks')}" if more else "",
        )

    def _break(self, break_: dict[str, Any]) -> list[str]:
        their_currency = (break_["their_line"] or {}).get("currency")
        return [
            self.translate(break_["category"]),
            break_["our_reference"] or break_["provider_reference"] or "—",
            self.money(break_["ours"]),
            self.money(break_["theirs"], their_currency),
            self.money(break_["difference"]),
            str(break_["age_days"]),
            break_["owner"],
            self.translate(break_["resolution"] or "open"),
            break_["note"] or "",
        ]


def default_language(currency: str) -> Language:
    """Return the language of a report if none is requested: Japanese for yen, English otherwise."""
    return "ja" if currency == "JPY" else "en"


def compose(data: ReportData, language: Language | None = None) -> ReportDocument:
    """Return the report in ``language``, or in the default language of the settlement's currency."""
    return Composer(data, language or default_language(data.settlement["currency"])).document()
