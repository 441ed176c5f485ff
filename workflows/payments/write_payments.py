"""Write accepted payments: each payment, its first history row and the answer to its key, in one statement.

The statement stores the answers first, and then those payments whose answers it stored. If another transaction used a key
since the look-up, neither the answer nor the payment of that request is written, and the others are. Therefore the statement
may be a transaction of its own: nothing has to be rolled back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from workflows.database.engines import rows_parameter
from workflows.database.json_rendering import render
from workflows.database.months import MARK, MonthlyStatement
from workflows.ids import new_id
from workflows.payments.check_request import PaymentRequest, PaymentSubmission
from workflows.payments.models import PaymentRow
from workflows.payments.queries import payment_fields
from workflows.payments.states import PAYMENT
from workflows.requests.first_answers import recipe_for
from workflows.requests.idempotency import KEY_LIFE, STORE_RECORDS, AnswerToStore, StoredAnswer
from workflows.tenants.caller import Caller, CallerRole

_COLUMNS = """
    id, merchant_id, store_id, device_id, bill_id, order_id, status, version, amount, tip_amount, currency, method_type,
    method_mode, processing_mode, provider, provider_token, approval_code, card_brand, card_last_4, entry_method,
    slip_number, card_arn, external_result, cash_received, change_amount, client_reference, metadata, on_too_late, due_at,
    request_id, expires_at, created_at"""
"""The columns that an accept sets. All others have their defaults, so an older process works with a newer schema."""

WRITE = MonthlyStatement(f"""
    -- write: the answer to the key, the payment and its first history row, for every request of the group
    WITH stored AS (
        {STORE_RECORDS} RETURNING resource_id
    ), payment AS (
        INSERT INTO payments{MARK} ({_COLUMNS})
        SELECT {_COLUMNS} FROM jsonb_populate_recordset(NULL::payments, CAST(:payments AS jsonb))
        -- An array is complete before the first row is inserted: every transaction takes keys first, then references.
        WHERE id = ANY(ARRAY(SELECT resource_id FROM stored))
        ORDER BY merchant_id, client_reference -- as the keys below
        RETURNING id, created_at, request_id
    ), history AS (
        INSERT INTO payment_history{MARK} (payment_id, version, event, to_status, at, caller_type, caller_id, request_id)
        SELECT p.id, 1, 'create', 'pending', p.created_at, by.caller_type, by.caller_id, p.request_id
        FROM payment p JOIN jsonb_to_recordset(CAST(:payments AS jsonb)) AS by(id text, caller_type text, caller_id text)
            ON by.id = p.id
    )
    SELECT resource_id FROM stored
""")
"""Returns the ids of the payments that were written."""


@dataclass(slots=True)
class Draft:
    """A request of the group that is accepted unless its bill refuses it.

    ``number`` is its index in the group. ``is_taken`` says that another caller already has an idempotency record under the
    same key. ``renders_answer`` says that the record has the answer's recipe instead of its body.
    """

    number: int
    submission: PaymentSubmission
    payment: PaymentRow
    is_taken: bool
    renders_answer: bool

    def answer(self) -> AnswerToStore:
        """Return the answer to the request, with the key under which it is stored."""
        fields = payment_fields(self.payment)
        body = render(fields)
        recipe = recipe_for(fields, body) if self.renders_answer else None
        stored = StoredAnswer(201, body, resource_id=self.payment["id"], is_replay=False, recipe=recipe)
        return AnswerToStore(self.payment["merchant_id"], self.submission.key, stored, self.is_taken)


def new_draft(
    number: int, submission: PaymentSubmission, context: Mapping[Any, Any], *, grace: timedelta, renders_answer: bool
) -> Draft:
    """Return the draft of an acceptable request.

    ``context`` is its entry of ``load_context``. A sweep finds the payment if no worker has claimed it within ``grace``.
    """
    payment = _payment_row(submission.request, context)
    payment["device_id"] = submission.caller.id if submission.caller.role is CallerRole.DEVICE else None
    payment["request_id"] = submission.request_id
    payment["due_at"] = context["now"] + grace
    return Draft(number, submission, payment, context["is_taken"], renders_answer)


def write_parameters(drafts: Sequence[Draft], records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the parameters of ``WRITE``. ``records`` are the drafts' answers (``record_rows``)."""
    payments = [{**draft.payment, **_by(draft.submission.caller)} for draft in drafts]
    return {"payments": rows_parameter(payments), "rows": rows_parameter(records), "life": KEY_LIFE}


def _by(caller: Caller) -> dict[str, str]:
    return {"caller_type": caller.type, "caller_id": caller.id}


def _payment_row(request: PaymentRequest, context: Mapping[Any, Any]) -> PaymentRow:
    now: datetime = context["now"]
    row = {
        "id": new_id("payment"),
        "merchant_id": context["merchant_id"],
        "store_id": context["store_id"],
        "bill_id": request.bill_id,
        "status": PAYMENT.initial[0],
        "version": 1,
        "amount": request.amount,
        "tip_amount": request.tip_amount,
        "currency": request.currency or context["currency"],
        "captured_amount": 0,
        "refunded_amount": 0,
        "refund_reserved": 0,
        "method_type": request.method_type,
        "method_mode": request.method_mode,
        "processing_mode": request.processing_mode,
        "provider": context["provider"] if request.processing_mode == "provider" else request.provider,
        "client_reference": request.client_reference,
        "metadata": request.metadata or {},
        "on_too_late": request.on_too_late,
        "outcome_known": True,
        "needs_review": False,
        "needs_action": False,
        "expires_at": now + timedelta(seconds=request.expires_in_seconds),
        "created_at": now,
        **request.facts,
    }
    return cast(PaymentRow, row)  # the other columns have their defaults
