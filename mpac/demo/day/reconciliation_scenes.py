"""Play the scenes after the day: cash is counted, statements arrive, breaks are resolved, and three days are signed off."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpac.cli.format_money import format_money, format_signed, format_yen
from mpac.demo.day import statement_files, tables
from mpac.demo.day.clock import GRACE_SECONDS
from mpac.demo.day.sales import CASH_SHORT, LATE, REFUND_AMOUNTS
from mpac.demo.day.sales_scenes import CHAIN, FIRST_DAY, IZAKAYA, NEXT_DAY, Story
from mpac.demo.http_client import HttpCaller
from mpac.stack.state_folder import private_folder, write_private

REFUSED, FORBIDDEN = 422, 403
NOTE = "釣り銭の渡し間違い（500円）"
STORE = "Shibuya"


@dataclass(frozen=True, slots=True)
class BreakResolution:
    """How the accountant resolves a break. ``to`` is the category of the break that it is linked to."""

    category: str
    resolution: str
    note: str
    to: str = ""


RESOLUTIONS = (
    BreakResolution("missing_at_provider", "link", "同じ売上が別の番号で計上されていた", to="missing_internally"),
    BreakResolution("amount_mismatch", "adjust", "先方の金額が正しい"),
    BreakResolution("duplicate_internal", "adjust", "同じ伝票を二重に登録した"),
    BreakResolution("fee_mismatch", "write_off", "少額のため償却"),
    BreakResolution("duplicate_provider", "ignore", "先方が二重計上を認め、取り消す"),
    BreakResolution("currency_mismatch", "ignore", "先方の表記誤り。入金は円"),
    BreakResolution("status_mismatch", "ignore", "取消は先方の誤記。入金済み"),
    BreakResolution("date_mismatch", "ignore", "先方の日付の誤り"),
)
"""All four ways to resolve a break."""


async def count_cash(story: Story) -> None:
    """Play the next morning: each manager counts, and one drawer is 500 yen short.

    Raises ``UnexpectedAnswer``.
    """
    await story.clock.move_to(9, 0, day=2)
    for name in story.stores.by_name:
        await story.refresh(name, FIRST_DAY)
    expected = story.settlements[STORE, FIRST_DAY]["cash_expected"]
    path = f"/settlements/{story.settlements[STORE, FIRST_DAY]['id']}/cash-count"
    manager = story.store(STORE).manager
    status, answer = await manager.request("POST", path, {"cash_actual": expected - CASH_SHORT})
    story.facts["a drawer that is short needs a note"] = status == REFUSED
    counts = {name: story.settlements[name, FIRST_DAY]["cash_expected"] for name in story.stores.by_name}
    notes = {STORE: {"note": NOTE}}
    counts[STORE] -= CASH_SHORT
    for name, counted in counts.items():
        here = story.settlements[name, FIRST_DAY]["id"]
        body = {"cash_actual": counted, **notes.get(name, {})}
        await story.store(name).manager.post(f"/settlements/{here}/cash-count", body)
        await story.refresh(name, FIRST_DAY)
    short = story.settlements[STORE, FIRST_DAY]["cash_discrepancy"]
    story.facts["one drawer is 500 yen short, and only one"] = short == -CASH_SHORT
    await story.say(
        f"The managers count their drawers. Shibuya's should hold {format_yen(expected)} and holds "
        f"{format_yen(counts[STORE])}: {format_signed(short, 'JPY')}. "
        f"Without a note that is refused ({answer['error']['details'][0]['issue']}). The manager's note is {NOTE}.",
        style="bold yellow",
    )


async def compare(story: Story, provider: HttpCaller) -> None:
    """Play the evening: both files are uploaded, and every difference is classified.

    Raises ``UnexpectedAnswer``, ``TimedOut``.
    """
    await story.clock.move_to(20, 0, day=2)
    store, settlement = story.store(STORE), story.settlements[STORE, FIRST_DAY]
    lines = story.lines = await statement_files.provider_lines(provider, settlement)
    ours = await store.manager.read(f"/settlements/{settlement['id']}/lines?limit=100")
    first = statement_files.statement_with_breaks(lines, story.breaks_by_payment[STORE])
    taken = await statement_files.upload_statement(store.manager, settlement["id"], first)
    cards = await statement_files.upload_card_file(
        store.manager, settlement["id"], statement_files.card_company_file(ours["data"])
    )
    run = await story.stores.accountant.post(f"/settlements/{settlement['id']}/reconcile")
    summary, currency = run["summary"], settlement["currency"]
    await story.say(
        f"The provider's statement of Shibuya's day arrives ({taken['line_count']} lines), and the card company's file "
        f"({cards['line_count']} lines, in Shift JIS). Our lines add up to "
        f"{format_money(summary['ours']['amount'], currency)}, theirs to "
        f"{format_money(summary['theirs']['amount'], currency)}; the difference of "
        f"{format_money(summary['difference'], currency)} is explained to the last yen:"
    )
    story.console.show(tables.categories(summary, currency))
    parts = summary["categories"]
    counts = {name: part["count"] for name, part in parts.items() if name != "matched"}
    story.facts["each kind of break is found once"] = set(counts.values()) == {1} and len(counts) == 10  # noqa: PLR2004 - the other categories
    story.facts["what agrees is matched"] = parts["matched"]["count"] > 0
    story.facts["the difference is explained"] = summary["difference"] == sum(p["difference"] for p in parts.values())


async def resolve(story: Story) -> None:
    """Let the accountant resolve each break; the manager is refused. Raises ``UnexpectedAnswer``."""
    settlement_id = story.settlements[STORE, FIRST_DAY]["id"]
    found = (await story.stores.accountant.read(f"/settlements/{settlement_id}/breaks?limit=100"))["data"]
    breaks = {row["category"]: row["id"] for row in found}
    first = breaks[RESOLUTIONS[0].category]
    status, _ = await story.store(STORE).manager.request(
        "POST", f"/breaks/{first}/resolve", {"resolution": "ignore", "note": "x"}
    )
    story.facts["a store's manager can't resolve a break"] = status == FORBIDDEN
    for break_id in breaks.values():
        await story.stores.accountant.post(f"/breaks/{break_id}/assign", {"owner": story.stores.accountant.name})
    for choice in RESOLUTIONS:
        body = {"resolution": choice.resolution, "note": choice.note}
        if choice.to:
            body["reference"] = breaks[choice.to]
        await story.stores.accountant.post(f"/breaks/{breaks[choice.category]}/resolve", body)
    seen = await story.refresh(STORE, FIRST_DAY)
    story.facts["the settlement still waits for what is expected"] = (seen["status"], seen["open_breaks"]) == (
        "closed",
        0,
    )
    await story.say(
        "Each difference, except what is still expected, is a break that a person resolves. The manager may not (403). The "
        "accountant links two that are one sale, adjusts our books for two, writes one off and ignores four with a reason. "
        "One line is still expected: the provider has 24 hours to report it."
    )


async def sign_off(story: Story) -> None:
    """Upload a corrected statement that has the late line; resolved breaks stay resolved.

    Raises ``UnexpectedAnswer``.
    """
    await story.clock.move_to(22, 0, day=2)
    settlement_id = story.settlements[STORE, FIRST_DAY]["id"]
    corrected = statement_files.statement_with_breaks(story.lines, story.breaks_by_payment[STORE], is_corrected=True)
    await statement_files.upload_statement(story.store(STORE).manager, settlement_id, corrected)
    run = await story.stores.accountant.post(f"/settlements/{settlement_id}/reconcile")
    seen = await story.refresh(STORE, FIRST_DAY)
    story.facts["a corrected statement preserves resolutions and completes the reconciliation"] = (
        run["summary"]["categories"]["expected"]["count"],
        seen["status"],
        seen["reconciled_by"],
    ) == (0, "reconciled", story.stores.accountant.name)
    await story.say(
        f"The provider sends its statement again, with the line that was late. Run {run['run']} finds every break again with "
        f"its resolution, no break is open, and Shibuya's day is {seen['status']} by {seen['reconciled_by']}.",
        style="green",
    )


async def finish_other_stores(story: Story) -> None:
    """Play the next two midnights: the other stores' statements are fetched and have no breaks.

    Raises ``UnexpectedAnswer``.
    """
    await story.clock.move_to(0, 0, GRACE_SECONDS, day=3)
    await asyncio.gather(
        _wait_until_reconciled(story, "Shinjuku"), *(story.wait_until_closed(name, day=NEXT_DAY) for name in CHAIN)
    )
    by_workers = story.settlements["Shinjuku", FIRST_DAY]
    await story.say(
        f"The provider's 24 hours are over: the workers fetched Shinjuku's statement themselves, found it clean and signed "
        f"it ({by_workers['reconciled_by'].partition('@')[0]}). Nobody had to do anything."
    )
    following = story.settlements[STORE, NEXT_DAY]
    totals = following["totals"]
    story.facts["the late payment and the second refund are the next day's"] = (
        following["late_count"],
        totals["gross"],
        totals["refunds"],
    ) == (1, LATE.amount, REFUND_AMOUNTS["back after midnight"])
    story.facts["the first refund is the first day's"] = (
        story.settlements[STORE, FIRST_DAY]["totals"]["refunds"] == REFUND_AMOUNTS["back before midnight"]
    )
    await story.say(
        f"Shibuya's second day closes with {following['late_count']} late line of {format_yen(totals['gross'])}, the "
        f"refund of {format_yen(totals['refunds'])} from after midnight, and {format_signed(totals['adjustments'], 'JPY')} of "
        "corrections."
    )
    await story.clock.move_to(5, 0, GRACE_SECONDS, day=3)
    await _wait_until_reconciled(story, IZAKAYA)
    await story.say("Ueno's statement is due five hours later, and has no breaks either.")


async def _wait_until_reconciled(story: Story, name: str) -> None:
    settlement_id = story.settlements[name, FIRST_DAY]["id"]
    manager = story.store(name).manager
    path = f"/settlements/{settlement_id}"
    await manager.wait_for(path, until=lambda found: found["status"] == "reconciled", counted="settlement")
    seen = await story.refresh(name, FIRST_DAY)
    story.facts[f"{name}'s day is reconciled by a worker"] = seen["reconciled_by"].startswith("worker-other")


async def print_report(story: Story, folder: Path) -> list[Path]:
    """Write Shibuya's report to files and return their paths. Raises ``UnexpectedAnswer``."""
    settlement = story.settlements[STORE, FIRST_DAY]
    base = f"{STORE.lower()}-{settlement['business_date']}"
    wanted = {f"{base}.html": "report", f"{base}.en.html": "report?lang=en", f"{base}.pdf": "report.pdf"}
    paths = [private_folder(folder) / name for name in wanted]
    accountant = story.stores.accountant
    files = await asyncio.gather(
        *(accountant.download(f"/settlements/{settlement['id']}/{name}") for name in wanted.values())
    )
    for path, content in zip(paths, files, strict=True):
        write_private(path, content)
    found: list[dict[str, Any]] = (await accountant.read(f"/settlements/{settlement['id']}/breaks?limit=100"))["data"]
    story.console.title(f"Shibuya, {settlement['business_date']}: from its report")
    story.console.show("Sales by method, less refunds and the providers' fees:")
    story.console.show(tables.breakdown(settlement))
    story.console.show(tables.cash(settlement))
    story.console.rich.print()
    story.console.show(
        "Breaks and how the accountant resolved them. For a fee mismatch both amounts are fees. The difference is our books "
        "minus the statement, in the store's currency."
    )
    story.console.show(tables.breaks(found))
    return paths
