"""Create the files that arrive after the day: the provider's statement with breaks, and the card company's file.

The first is the provider's own statement, downloaded as its bookkeeper would and then changed: ``sales`` names the break of
each sale. The second looks like the files of card companies: Japanese headings in Shift JIS, and no reference of ours.
"""

import csv
import io
import json
from datetime import datetime
from random import Random
from typing import Any
from urllib.parse import urlencode

from mpac.demo.day.sales import EXPECTED, LEFT_OUT
from mpac.demo.day.users import User
from mpac.demo.http_client import HttpCaller, Upload
from mpac.demo.problems import UnexpectedAnswer
from mpac.devtools.statement.inject_breaks import inject_breaks_at
from mpac.devtools.statement.lines import STATEMENT_KINDS, SourceLine, write_csv

SEED = 11  # the same differences in every run
OK = 200
KINDS_BY_STATEMENT_KIND = {word: kind for kind, word in STATEMENT_KINDS.items()}
SIGNS = {"payment": 1, "refund": -1, "reversal": -1}
CARD_COMPANY = {
    "columns": {"provider_reference": "照会番号", "amount": "金額", "on": "ご利用日"},
    "currency": "JPY",
    "encoding": "shift_jis",
}


async def provider_lines(provider: HttpCaller, settlement: dict[str, Any]) -> list[SourceLine]:
    """Return the provider's own statement for a settlement's store and period.

    Raises ``UnexpectedAnswer``, ``TimedOut``.
    """
    period = {"account": settlement["store_id"], "from": settlement["start_at"], "to": settlement["end_at"]}
    answer = await provider.call("GET", f"/v1/statements?{urlencode({**period, 'format': 'csv'})}")
    if answer.status != OK:
        raise UnexpectedAnswer(f"the provider gave no statement: {answer.status} {answer.body}")
    return [_line(row) for row in csv.DictReader(io.StringIO(answer.body.decode()))]


def _line(row: dict[str, str]) -> SourceLine:
    kind = KINDS_BY_STATEMENT_KIND[row["kind"]]
    return SourceLine(
        kind=kind,
        entity_id=row["reference"].partition(":")[0],
        our_reference=row["reference"],
        provider_reference=row["provider_reference"],
        amount=SIGNS[kind] * int(row["amount"]),
        currency=row["currency"],
        fee=int(row["fee"]),
        occurred_at=datetime.fromisoformat(row["at"]),
    )


def statement_with_breaks(
    lines: list[SourceLine], breaks_by_payment: dict[str, str], *, is_corrected: bool = False
) -> bytes:
    """Return a statement that has the break of ``breaks_by_payment`` at each payment.

    If ``is_corrected``, the statement includes the lines that were merely late.
    """
    chosen = {
        ("payment", payment_id): LEFT_OUT if category == EXPECTED else category
        for payment_id, category in breaks_by_payment.items()
        if not (is_corrected and category == EXPECTED)
    }
    # Not by time, because concurrent sales have no fixed order.
    ordered = sorted(lines, key=lambda line: (line.kind, line.amount))
    statement, _ = inject_breaks_at(ordered, chosen, random=Random(SEED))  # noqa: S311 - the same every time
    file = io.StringIO()
    write_csv(file, statement)
    return file.getvalue().encode()


def card_company_file(settlement_lines: list[dict[str, Any]]) -> bytes:
    """Return what the card company reports: each of its references once."""
    seen = {line["provider_reference"]: line for line in settlement_lines if line["provider"] == "external"}
    file = io.StringIO()
    rows = csv.writer(file, lineterminator="\r\n")
    rows.writerow(["ご利用日", "照会番号", "ブランド", "金額"])
    for reference, line in sorted(seen.items()):
        rows.writerow([line["business_date"].replace("-", "/"), reference, line["brand"], line["amount"]])
    return file.getvalue().encode("shift_jis")


async def upload_statement(user: User, settlement_id: str, file: bytes) -> dict[str, Any]:
    """Upload the provider's file. Raises ``UnexpectedAnswer``, ``TimedOut``."""
    return await _upload(user, settlement_id, Upload({"provider": "sandbox"}, "statement.csv", file))


async def upload_card_file(user: User, settlement_id: str, file: bytes) -> dict[str, Any]:
    """Upload the card company's file with the mapping that says how to read it.

    Raises ``UnexpectedAnswer`` and ``TimedOut``.
    """
    fields = {"provider": "external", "mapping": json.dumps(CARD_COMPANY, ensure_ascii=False)}
    return await _upload(user, settlement_id, Upload(fields, "cards.csv", file))


async def _upload(user: User, settlement_id: str, upload: Upload) -> dict[str, Any]:
    statement: dict[str, Any] = await user.post(f"/settlements/{settlement_id}/statements", upload=upload)
    return statement
