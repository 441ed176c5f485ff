"""Compose: the report as headings, facts and tables of text, which HTML and PDF only have to draw.

Amounts are written as the language's readers write that currency, times by the store's own clocks.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from babel.dates import format_date, format_datetime

from workflows.money import Money, currencies
from workflows.reconciliation.categories import Category
from workflows.reports.load import Facts
from workflows.reports.translations import Language, word
from workflows.time_zones import zone

AMOUNTS = ("gross", "refunds", "fees", "adjustments", "net")


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its heading, whether it holds numbers, and its share of the width."""

    title: str
    is_number: bool = False
    weight: int = 2


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under headings; ``sums`` is the last row, if there is one."""

    columns: list[Column]
    rows: list[list[str]]
    sums: list[str] | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with facts, or a table, or a remark."""

    title: str
    facts: list[tuple[str, str]] = field(default_factory=list)
    table: Table | None = None
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """A report, ready to be drawn."""

    language: Language
    title: str
    store: str
    facts: list[tuple[str, str]]
    sections: list[Section]
    footer: str


class Composer:
    """Words, amounts and times in one language, currency and zone."""

    def __init__(self, facts: Facts, language: Language) -> None:
        self.facts, self.language = facts, language
        self.currency: str = facts.settlement["currency"]
        self._zone = zone(facts.settlement["time_zone"])

    def word(self, name: str | None) -> str:
        """A word in the report's language."""
        return word(name, self.language)

    def money(self, amount: int | None, currency: str | None = None) -> str:
        """An amount as it is written; a dash where there is none."""
        currency = currency or self.currency
        if amount is None:
            return "—"
        return Money(amount, currency).text(self.language) if currency in currencies() else f"{amount} {currency}"

    def time(self, at: datetime | None) -> str:
        """An instant by the store's clocks."""
        return format_datetime(at, "medium", tzinfo=self._zone, locale=self.language) if at else "—"

    def document(self) -> Document:
        """The whole report."""
        settlement = self.facts.settlement
        return Document(
            language=self.language,
            title=self.word("title"),
            store=self.facts.store,
            facts=self._head(),
            sections=[
                Section(self.word("totals"), facts=self._totals()),
                Section(self.word("by_method"), table=self._groups()),
                Section(self.word("cash"), facts=self._cash()),
                self._reconciliation(),
                *self._uncompared(),
                self._breaks(),
            ],
            footer=f"{settlement['id']} · {self.word('printed')} {self.time(self.facts.at)}",
        )

    def _head(self) -> list[tuple[str, str]]:
        settlement = self.facts.settlement
        start, end = self.time(settlement["start_at"]), self.time(settlement["end_at"])
        reconciled = self.time(settlement["reconciled_at"])
        if settlement["reconciled_by"]:
            reconciled += f" ({self.word('by')} {settlement['reconciled_by']})"
        return [
            (self.word("merchant"), self.facts.merchant),
            (self.word("store"), self.facts.store),
            (self.word("business_date"), format_date(settlement["business_date"], "full", locale=self.language)),
            (self.word("period"), f"{start} – {end} ({settlement['time_zone']})"),
            (self.word("status"), self.word(f"{settlement['status']}_status")),
            (self.word("closed"), self.time(settlement["closed_at"])),
            (self.word("reconciled"), reconciled),
            (self.word("settlement"), settlement["id"]),
        ]

    def _totals(self) -> list[tuple[str, str]]:
        settlement = self.facts.settlement
        totals, doubt = settlement["totals"], settlement["in_doubt"]
        return [
            (self.word("count"), f"{totals['count']:,}"),
            *((self.word(name), self.money(totals[name])) for name in AMOUNTS),
            (self.word("late"), f"{settlement['late_count']:,}"),
            (self.word("in_doubt"), f"{doubt['count']:,} ({self.money(doubt['amount'])})"),
        ]

    def _groups(self) -> Table:
        columns = [Column(self.word(name)) for name in ("method", "provider", "brand")]
        columns.append(Column(self.word("count"), is_number=True, weight=1))
        columns += [Column(self.word(name), is_number=True) for name in AMOUNTS]
        rows = [self._group(group) for group in self.facts.groups]
        totals = self.facts.settlement["totals"]
        sums = [self.word("sum"), "", "", f"{totals['count']:,}", *(self.money(totals[name]) for name in AMOUNTS)]
        return Table(columns, rows, sums)

    def _group(self, group: dict[str, Any]) -> list[str]:
        net = group["gross"] - group["refunds"] - group["fees"] + group["adjustments"]
        names = [self.word(group[name]) for name in ("method_type", "provider", "brand")]
        amounts = [self.money({**group, "net": net}[name]) for name in AMOUNTS]
        return [*names, f"{group['count']:,}", *amounts]

    def _cash(self) -> list[tuple[str, str]]:
        settlement = self.facts.settlement
        actual = settlement["cash_actual"]
        return [
            (self.word("cash_expected"), self.money(settlement["cash_expected"])),
            (self.word("cash_actual"), self.word("not_counted") if actual is None else self.money(actual)),
            (self.word("cash_discrepancy"), self.money(settlement["cash_discrepancy"])),
            (self.word("note"), settlement["note"] or "—"),
        ]

    def _reconciliation(self) -> Section:
        run = self.facts.run
        if run is None:
            return Section(self.word("reconciliation"), remark=self.word("never_reconciled"))
        summary = run["summary"]
        columns = [Column(self.word("category"), weight=3), Column(self.word("count"), is_number=True, weight=1)]
        names = ("ours", "theirs", "difference", "fee_difference")
        columns += [Column(self.word(name), is_number=True) for name in names]
        parts = {str(category): summary["categories"][category] for category in Category}
        rows = [
            [self.word(category), f"{part['count']:,}", *(self.money(part[name]) for name in names)]
            for category, part in parts.items()
            if part["count"]
        ]
        sums = [
            summary["ours"]["amount"],
            summary["theirs"]["amount"],
            summary["difference"],
            summary["fee_difference"],
        ]
        whole = [self.word("sum"), f"{sum(part['count'] for part in parts.values()):,}", *map(self.money, sums)]
        remark = f"{self.word('run')} {run['number']} · {self.time(run['at'])} · {run['caller_id']}"
        ended = summary.get("ended_by_statement") or {"count": 0}  # a run of an earlier release has none
        if ended["count"]:
            remark += f" · {self.word('ended_by_statement')}: {ended['count']:,} ({self.money(ended['amount'])})"
        return Section(self.word("reconciliation"), table=Table(columns, rows, whole), remark=remark)

    def _uncompared(self) -> list[Section]:
        found = self.facts.settlement["uncompared"]
        if not found or not found["count"]:
            return []
        facts = [
            (
                self.word(one["provider"]),
                f"{one['count']:,} ({self.money(one['amount'])})"
                + (f" · {self.word('by_policy')}" if one["is_policy"] else ""),
            )
            for one in found["providers"]
        ]
        remark = self.word("needs_acceptance") if found["needs_acceptance"] else ""
        if found["accepted_by"]:
            at = self.time(datetime.fromisoformat(found["accepted_at"]))
            remark = f"{self.word('accepted')} · {at} · {found['accepted_by']}: {found['note']}"
        return [Section(self.word("uncompared"), facts=facts, remark=remark)]

    def _breaks(self) -> Section:
        found = self.facts.breaks
        if not found:
            return Section(self.word("breaks"), remark=self.word("no_breaks"))
        columns = [Column(self.word("category"), weight=3), Column(self.word("reference"), weight=5)]
        columns += [Column(self.word(name), is_number=True) for name in ("ours", "theirs", "difference")]
        columns += [Column(self.word("age"), is_number=True, weight=1)]
        columns += [Column(self.word(name)) for name in ("owner", "resolution")]
        columns += [Column(self.word("note"), weight=3)]
        more = self.facts.break_count - len(found)
        return Section(
            self.word("breaks"),
            table=Table(columns, [self._break(one) for one in found]),
            remark=f"{more:,} {self.word('more_breaks')}" if more else "",
        )

    def _break(self, one: dict[str, Any]) -> list[str]:
        their_currency = (one["their_line"] or {}).get("currency")
        return [
            self.word(one["category"]),
            one["our_reference"] or one["provider_reference"] or "—",
            self.money(one["ours"]),
            self.money(one["theirs"], their_currency),
            self.money(one["difference"]),
            str(one["age_days"]),
            one["owner"],
            self.word(one["resolution"] or "open"),
            one["note"] or "",
        ]


def default_language(currency: str) -> Language:
    """Yen are read by readers of Japanese."""
    return "ja" if currency == "JPY" else "en"


def compose(facts: Facts, language: Language | None = None) -> Document:
    """The report of ``facts`` in ``language``, or in that of the settlement's currency."""
    return Composer(facts, language or default_language(facts.settlement["currency"])).document()
