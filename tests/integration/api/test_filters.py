"""Each filter of payments and refunds, and each pair of filters, finds the right rows on all pages, for every role."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from itertools import combinations
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.dialects import postgresql

from tests.conftest import MakeTenant
from tests.factories import CASH, QR, TERMINAL, Tenant
from tests.fakes import FakeProvider
from tests.harness import Api
from tests.integration.payments.evidence import Admin, all_of
from tests.integration.refunds.refund_helpers import RefundMaker
from tests.plan_names import without_first_months
from workflows.clock import now
from workflows.payments.models import Payment
from workflows.payments.queries import PaymentFilter
from workflows.providers.base import Succeeded, Unknown
from workflows.providers.registry import Providers
from workflows.refunds.models import Refund
from workflows.refunds.queries import RefundFilter
from workflows.settings import Settings
from workflows.tenants.caller import caller_transaction

ROLES = ("device", "staff", "store_manager", "merchant_admin", "psp_admin")
PROGRESS = {"due_at", "in_doubt_since", "attempts", "inquiries"}
Row = Mapping[str, Any]

PAYMENTS: dict[str, Callable[[Row], bool]] = {
    "needs_review=true": lambda row: row["needs_review"],
    "needs_review=false": lambda row: not row["needs_review"],
    "outcome_known=false": lambda row: not row["outcome_known"],
    "outcome_known=true": lambda row: row["outcome_known"],
    "overdue=true": lambda row: row["metadata"].get("late", False),
    "overdue=false": lambda row: not row["metadata"].get("late", False),
    "provider=cash": lambda row: row["provider"] == "cash",
    "provider=sandbox": lambda row: row["provider"] == "sandbox",
    "provider=nobody": lambda row: False,
    "provider_reference=ref-1": lambda row: row["provider_reference"] == "ref-1",
    "card_last_4=0042": lambda row: row["card_last_4"] == "0042",
    "amount_from=1000": lambda row: row["amount"] >= 1_000,
    "amount_to=1000": lambda row: row["amount"] <= 1_000,
    "amount_from=701&amount_to=1000": lambda row: 701 <= row["amount"] <= 1_000,
    "status=completed": lambda row: row["status"] == "completed",
    "created_from=2020-01-01T00:00:00Z": lambda row: True,
}
REFUNDS = {
    query: meant for query, meant in PAYMENTS.items() if not query.startswith("card") and query != "overdue=false"
} | {"needs_action=true": lambda row: row["needs_action"], "overdue=false": PAYMENTS["overdue=false"]}


async def plant(refunds: RefundMaker, provider: FakeProvider, admin: Admin) -> None:
    """Create payments and refunds, so that each filter finds some of them, but not all."""
    made = refunds.payments
    doubt = await made.pending(QR, amount=5_000)
    provider.charges.append(Unknown("no answer"))
    await made.process(doubt)
    plain = await refunds.paid(QR, amount=700, tip_amount=9_000)
    await admin.execute("UPDATE payments SET provider_reference = 'ref-1' WHERE id = %s", [plain])
    cash = await refunds.paid(CASH)
    card = await refunds.paid(
        TERMINAL, amount=2_000, facts={"external_result": "approved", "approval_code": "A1", "card_last_4": "0042"}
    )
    await made.pending(QR, amount=1_000)
    await made.pending(QR, amount=800, metadata={"late": True})
    twice = await refunds.paid(QR, amount=1_000)
    await admin.execute("UPDATE payments SET needs_review = true WHERE id = ANY(%s)", [[twice, doubt]])

    done = await refunds.refunded(plain, 700)
    await admin.execute("UPDATE refunds SET provider_reference = 'ref-1' WHERE id = %s", [done])
    provider.refunds.append(Unknown("no answer"))
    in_doubt = await refunds.refunded(twice, 1_000)
    await admin.execute("UPDATE refunds SET needs_review = true WHERE id = %s", [in_doubt])
    await refunds.refunded(cash, 800)
    await refunds.pending(card, 1_500)
    overdue = await refunds.pending(plain, 5)
    await admin.execute("UPDATE refunds SET metadata = '{\"late\": true}' WHERE id = %s", [overdue])
    for table in (b"payments", b"refunds"):
        later = b"interval '1 hour' - CASE WHEN metadata ? 'late' THEN interval '3661 s' ELSE '0 s' END "
        whose = b"WHERE due_at IS NOT NULL AND merchant_id = %s"
        await admin.execute(
            b"UPDATE " + table + b" SET due_at = now() + " + later + whose, [refunds.tenant.merchant_id]
        )


async def listed(api: Api, path: str, query: str, token: str, *, limit: int) -> list[dict[str, Any]]:
    """Return all rows of a list, reading it page by page."""
    rows: list[dict[str, Any]] = []
    cursor = ""
    while True:
        answer = await api.get(f"{path}?limit={limit}&{query}{cursor}", as_=token)
        assert answer.status == 200, (query, answer.raw)
        rows += answer.body["data"]
        if not answer.body["next_cursor"]:
            return rows
        cursor = f"&cursor={answer.body['next_cursor']}"


def token(api: Api, tenant: Tenant, role: str) -> str:
    """Return a token of a caller of ``tenant`` with ``role``."""
    return api.signer.device(tenant) if role == "device" else api.signer.user(tenant, role=role)


@pytest.mark.parametrize(("path", "filters"), [("/payments", PAYMENTS), ("/refunds", REFUNDS)])
async def test_two_filters_find_the_rows_that_match_both_for_every_role(
    api: Api,
    refunds: RefundMaker,
    provider: FakeProvider,
    admin: Admin,
    make_tenant: MakeTenant,
    settings: Settings,
    path: str,
    filters: dict[str, Callable[[Row], bool]],
) -> None:
    neighbour = RefundMaker(settings, Providers({provider.name: provider}), await make_tenant())
    for maker in (refunds, neighbour):
        await plant(maker, provider, admin)
    tokens = {role: token(api, refunds.tenant, role) for role in ROLES}
    manager = tokens["store_manager"]
    everything = await listed(api, path, "", manager, limit=200)
    assert len(everything) >= 5
    for query, meant in filters.items():
        expected = [row["id"] for row in everything if meant(row)]
        for role in ROLES:
            limit = 2 if role == "store_manager" else 200
            found = await listed(api, path, query, tokens[role], limit=limit)
            assert [row["id"] for row in found] == expected, (query, role)
    of_each_name = {query.partition("=")[0]: query for query in reversed(filters)}
    for one, other in combinations(of_each_name.values(), 2):
        if "amount_to" in one + other and one.startswith("amount") and other.startswith("amount"):
            continue  # a repeated name is refused; both bounds of a range are one of the filters above
        found = await listed(api, path, f"{one}&{other}", manager, limit=200)
        expected = [row["id"] for row in everything if filters[one](row) and filters[other](row)]
        assert [row["id"] for row in found] == expected, (one, other)


@pytest.mark.parametrize("path", ["/payments", "/refunds"])
@pytest.mark.parametrize(
    ("query", "field"),
    [
        *(
            (f"{name}={value}", name)
            for name in ("overdue", "needs_review", "outcome_known")
            for value in ("maybe", "")
        ),
        ("overdue=True", "overdue"),
        ("provider=", "provider"),
        ("provider_reference=", "provider_reference"),
        ("provider_reference=" + "x" * 201, "provider_reference"),
        ("store_id=", "store_id"),
        ("amount_from=", "amount_from"),
        ("amount_from=-1", "amount_from"),
        ("amount_to=-1", "amount_to"),
        ("amount_to=1.5", "amount_to"),
        ("amount_to=" + "9" * 12 + "9999", "amount_to"),
        ("amount_to=1" + "0" * 4_500, "amount_to"),
        ("amount_from=2&amount_to=1", "amount_from"),
        ("created_from=2026-11-23T10:00:01Z&created_to=2026-11-23T10:00:00Z", "created_from"),
    ],
)
async def test_a_bad_filter_value_is_refused_and_named(
    api: Api, tenant: Tenant, path: str, query: str, field: str
) -> None:
    answer = await api.get(f"{path}?{query}", as_=tenant)
    assert (answer.status, answer.code, answer.details[0]["field"]) == (400, "VALIDATION_ERROR", field)


@pytest.mark.parametrize("path", ["/orders", "/bills"])
async def test_other_lists_refuse_an_empty_text_and_a_range_that_ends_before_it_begins(
    api: Api, tenant: Tenant, path: str
) -> None:
    assert (await api.get(f"{path}?store_id=", as_=tenant)).details == [
        {"field": "store_id", "issue": "Must not be empty"}
    ]
    backwards = "created_from=2026-11-23T10:00:01Z&created_to=2026-11-23T10:00:00Z"
    assert (await api.get(f"{path}?{backwards}", as_=tenant)).details == [
        {"field": "created_from", "issue": "Must not be after created_to"}
    ]


@pytest.mark.parametrize(
    "digits", ["12", "", "abcd", "12345", "4242424242424242", "1234567890123456", "４２４２", "4242%0A", "+4242"]
)
async def test_card_digits_that_are_not_four_are_neither_repeated_nor_logged(
    api: Api, tenant: Tenant, digits: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await api.get(f"/payments?card_last_4={digits}", as_=tenant)
    assert answer.status == (422 if digits == "4242424242424242" else 400)
    assert answer.details[0]["field"] in ("card_last_4", "query")
    if digits:
        assert digits.encode() not in answer.raw
        ours = [
            record.getMessage() + str(record.__dict__) for record in caplog.records if record.name.startswith("api")
        ]
        assert ours
        assert not any(digits in said for said in ours if len(digits) > 4)


async def test_progress_fields_are_shown_to_store_managers_and_above_only(
    api: Api, refunds: RefundMaker, provider: FakeProvider, admin: Admin
) -> None:
    await plant(refunds, provider, admin)
    tenant = refunds.tenant
    for path, table in (("/payments", b"payments"), ("/refunds", b"refunds")):
        rows = {
            row["id"]: row
            for row in await all_of(admin, b"SELECT * FROM " + table + b" WHERE merchant_id = %s", tenant.merchant_id)
        }
        for role in ROLES:
            may = role not in ("device", "staff")
            listing = await listed(api, path, "", token(api, tenant, role), limit=200)
            if role in ("device", "store_manager"):
                singles = [(await api.get(f"{path}/{row['id']}", as_=token(api, tenant, role))).body for row in listing]
                assert singles == listing
            for shown in listing:
                assert PROGRESS & set(shown) == (PROGRESS if may else set())
                if may:
                    row = rows[shown["id"]]
                    assert (shown["attempts"], shown["inquiries"]) == (row["attempts"], row["inquiries"])
                    assert (shown["due_at"] is None) == (row["due_at"] is None)
                    assert (shown["in_doubt_since"] is None) == shown["outcome_known"]


async def test_progress_fields_are_in_waits_and_streams_but_not_in_answers_to_a_post(
    api: Api, refunds: RefundMaker
) -> None:
    tenant = refunds.tenant
    payment_id = await refunds.paid(CASH)
    for role in ROLES:
        may = role not in ("device", "staff")
        waited = await api.get(f"/payments/{payment_id}?wait=1&since_version=1", as_=token(api, tenant, role))
        stream = api.events(f"/payments/{payment_id}/stream", as_=token(api, tenant, role))
        event = await asyncio.wait_for(anext(stream), timeout=30)
        await stream.aclose()
        for shown in (waited.body, event):
            assert PROGRESS & set(shown) == (PROGRESS if may else set()), role
    admin = token(api, tenant, "merchant_admin")
    key = f"k-{payment_id}"
    first, again = [await api.pay(admin, key=key, store_id=tenant.store_id) for _ in range(2)]
    assert first.raw == again.raw
    cancelled = await api.post(f"/payments/{first.body['id']}/cancel", {}, as_=admin)
    refund = await api.post(
        f"/payments/{payment_id}/refund", {"reason": "r", "staff_code": "s"}, as_=admin, key=f"r-{payment_id}"
    )
    for answer in (first, cancelled, refund):
        assert answer.status in (200, 201), answer.raw
        assert not PROGRESS & set(answer.body)


INDEXED = (
    (Payment, PaymentFilter(needs_review=True), "payments_in_review"),
    (Payment, PaymentFilter(outcome_known=False), "payments_in_doubt"),
    (Payment, PaymentFilter(overdue=True), "due_payments"),
    (Payment, PaymentFilter(provider_reference="ref-1"), "payment_references_by_reference"),
    (Payment, PaymentFilter(card_last_4="0042"), "payments_by_card"),
    (
        Payment,
        PaymentFilter(created_from=now(), created_to=now() + timedelta(1), amount_from=1),
        "payments_by_creation",
    ),
    (Refund, RefundFilter(needs_review=True), "refunds_in_review"),
    (Refund, RefundFilter(outcome_known=False), "refunds_in_doubt"),
    (Refund, RefundFilter(overdue=True), "due_refunds"),
    (Refund, RefundFilter(provider_reference="ref-1"), "refund_references_by_reference"),
)
"""Filters that must use an index, with the name of the index."""


@pytest.mark.parametrize(("model", "wanted", "index"), INDEXED, ids=[index for _, _, index in INDEXED])
async def test_a_selective_filter_is_answered_by_an_index(
    engines: None, tenant: Tenant, model: type[Payment] | type[Refund], wanted: PaymentFilter | RefundFilter, index: str
) -> None:
    statement = select(model.__table__).where(*wanted.conditions())
    written = statement.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})  # type: ignore[no-untyped-call]
    async with caller_transaction(tenant.staff) as connection:
        await connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan = (await connection.exec_driver_sql(f"EXPLAIN {written}")).scalars().all()
    assert index in without_first_months(" ".join(plan))


async def test_a_long_reference_of_a_provider_is_recorded_and_found(
    api: Api, refunds: RefundMaker, provider: FakeProvider
) -> None:
    reference = "".join(f"{number:x}/" for number in range(3_000))  # compressed, it exceeds a B-tree entry
    provider.charges.append(Succeeded(amount=1_000, provider_reference=reference))
    payment_id = await refunds.paid()
    found = await api.get(f"/payments/{payment_id}", as_=refunds.tenant)
    assert (found.body["status"], found.body["provider_reference"]) == ("completed", reference)
