"""Render ``info.description`` of the OpenAPI document: the text of the documentation page, in Markdown.

Statuses, errors and limits are rendered from the tables and settings of the code, so that the text cannot contradict it.
"""

from api.dependencies import DEFAULT_LIMIT, MAX_LIMIT
from api.idempotency import HEADER, REPLAYED
from api.openapi.error_section import render_errors
from api.openapi.markdown import codes, table
from api.openapi.status_section import render_statuses
from api.schemas.base import MAX_DEPTH, MAX_ENTRIES
from api.schemas.payments import DEFAULT_EXPIRY_SECONDS, MAX_EXPIRY_SECONDS
from api.uploads import MAX_JSON_BYTES
from workflows.devices.client_assertions import MAX_LIFE, TOKEN_PATH
from workflows.money import MAX_AMOUNT
from workflows.requests.idempotency import KEY_LIFE
from workflows.settings import Settings
from workflows.tenants.caller import CallerRole

HOUR = 3_600
KIB = 1_024
UNITS = ((KIB**2, "MiB"), (KIB, "KiB"), (1, "bytes"))

INTRODUCTION = """The payments service of a point-of-sale platform. A terminal submits a payment; the service processes it
asynchronously and reports the outcome.

- Amounts are whole numbers of **minor units** of an ISO 4217 currency: `1000` JPY is 1,000 yen, `1000` USD is 10 dollars.
- Timestamps are RFC 3339 in UTC. Ids are text of at most 80 characters: a prefix and a UUIDv7.
- Lists are paged: send the `next_cursor` of a page as `cursor` of the next one; it is `null` on the last page
  and only there. A page of a long search may hold fewer entries than `limit`, or none, and still have one.
- Unknown body fields are refused (422) and unknown query names are refused (400), so a typo is never silently ignored.
- **Answers may grow.** Ignore fields that you do not know, and treat an unknown value of an enumeration as you would treat an
  unknown outcome: show it and do not act on it. Existing fields, values and operation ids do not change their meaning.
- Nothing that could be a card number (13 to 19 digits that pass the Luhn test) is accepted in any field, key or query: 422."""

RULES = f"""### When to charge again: the four rules of a terminal
1. **One key per intention.** Create the `{HEADER}` and the `client_reference` when the cashier presses the button, store both,
   and send the same values until there is an answer.
2. **A lost answer says nothing about the outcome.** After a time-out, a reset, 429, 500 or 503, send the same request with
   the same key after `Retry-After` or a second or two. After a restart, find the payment with `listPayments` and its
   `client_reference`.
3. **Only a final status is an outcome:** `completed`, `failed`, `cancelled` (and later `refunded`). Until then, wait.
4. **`outcome_known: false` means: do not charge again**, neither on another terminal nor by another method.
   The service finds out the outcome.

`failed` and `cancelled` mean that it is certain that no money moved. Only then may the customer pay again, with a new key.

### Idempotency
Every `POST` that creates or moves money requires `{HEADER}`: 1 to 100 printable characters, a new value per intention. A key
belongs to its caller, path and method. The same key with a body of the same meaning returns the stored answer, byte for byte,
with `{REPLAYED}: true`, for {KEY_LIFE.total_seconds() / HOUR:g} hours. A different body is refused with 422
`IDEMPOTENCY_KEY_REUSED`; a key whose first request is still running is refused with 409 `IDEMPOTENCY_KEY_IN_USE`. Only answers
with 2xx and 422 are stored. A `client_reference` stays unique within the merchant permanently."""

GENERATORS = """Operation ids become function names and never change. Every amount has 64 bits (`int64`). Two generators are
tested with each release: `openapi-typescript` with `openapi-fetch`, and `openapi-python-client`. Run `openapi-typescript` with
`--default-non-nullable=false`; otherwise its clients must send fields that have a default. Clients with closed enumerations
reject values that a newer server adds: store an answer that cannot be parsed, and treat it as an unknown outcome."""

FATES = (
    ("`approve` (default)", "charges", "`completed`"),
    ("`decline:<code>`", "refuses", "`failed` with that code"),
    (
        "`timeout_after_charge`, `error_500_after_charge`, `reset_after_charge`, `garbage_after_charge`",
        "charges; the answer is lost",
        "in doubt, then `completed`; charged once",
    ),
    (
        "`timeout_before_charge`, `error_500_before_charge`",
        "does nothing and does not answer",
        "in doubt, sent again with the same reference, `completed`",
    ),
    (
        "`unavailable:<n>`",
        "answers 503 *n* times",
        "tried again, `completed`; above 5: `failed`, `provider_unavailable`",
    ),
    ("`rate_limited:<n>`", "answers 429 *n* times", "tried again, `completed`"),
    ("`slow:<ms>`", "charges and answers late", "`completed`"),
    ("`pending:<ms>`", "decides later", "`processing`, then `completed`"),
    ("`not_found_lie:<ms>`", "charges and denies it for a while", "in doubt, then `completed`; charged once"),
    ("`inquiry_unavailable:<ms>`", "does not answer inquiries for a while", "as without it, later"),
    ("`ignore_idempotency`", "would charge the same key twice", "`completed`; charged once"),
    ("`partial:<amount>`", "charges another amount", "`processing` with `needs_review`"),
)
"""Fault of the sandbox provider, what the provider does, and how the payment ends."""


def render_description(settings: Settings) -> str:
    """Return the whole description."""
    fates = table(("`metadata.sandbox`", "the provider", "the payment"), FATES)
    return "\n\n".join(
        (
            INTRODUCTION,
            f"## Tokens\n{_tokens(settings)}",
            f"## Rules\n{RULES}",
            f"## Statuses\nOnly these changes are possible; any other is refused with 409.\n\n{render_statuses()}",
            "## Sandbox fates\nA payment at the sandbox provider (`qr`, or `card` with a `provider`) chooses its fate in "
            f"`metadata.sandbox`; several faults can be joined with commas.\n\n{fates}",
            f"## Errors\nEvery error has the same body: `error.code` for programs, `error.message` for people, and "
            f"`error.details`, a list (possibly empty) with a `field` and an `issue` each.\n\n{render_errors()}",
            f"## Limits\n{_limits(settings)}",
            f"## Generated clients\n{GENERATORS}",
        )
    )


def _tokens(settings: Settings) -> str:
    roles = [role.name.lower() for role in CallerRole if role is not CallerRole.DEVICE]
    return f"""Send `Authorization: Bearer <token>`. There are two kinds of token.

**`deviceToken`**, for a terminal and its own store:
1. A manager registers the terminal (`createTerminal`) and reads out a code (`generateActivationCode`).
2. The terminal makes an EC P-256 key pair and activates itself with the code and the public key (`activateTerminal`).
3. It posts a form to `{TOKEN_PATH}` (`createDeviceToken`) with a `client_assertion`: a JWT signed with ES256 whose `iss` and
   `sub` are its `client_id`, whose `aud` is the public address of the service or its token URL, with a new `jti` each time
   and an `exp` at most {MAX_LIFE.total_seconds() / 60:g} minutes ahead.
4. The token is valid for {settings.device_token_seconds} s. It ends at once if the terminal is suspended or its key replaced.

**`userToken`**, for a person or a program of the back office: a JWT (ES256 or RS256) of the login system with `sub`, `role`,
`psp_id`, `merchant_id` and `store_id`. For development: `python3 run.py token --role staff`.

Roles from the lowest to the highest: {codes(roles)}. A higher role may do everything that a lower role may, within its own
tenant; each operation names the lowest role. An id of another tenant is answered with 404, never with 403."""


def _limits(settings: Settings) -> str:
    def per_minute(limit: int) -> str:
        return f"{limit:,} a minute" if limit else "none"

    rows = [
        ("request body", _size(settings.max_body_bytes), "400"),
        ("statement file", f"{_size(settings.max_statement_bytes)}; as JSON {_size(MAX_JSON_BYTES)}", "400"),
        ("`amount`, `tip_amount`", f"{MAX_AMOUNT:,} minor units each", "422"),
        ("`metadata`", f"{MAX_ENTRIES} entries per level, {MAX_DEPTH} levels", "422"),
        ("requests of a merchant", per_minute(settings.rate_limit_per_merchant), "429"),
        ("requests of all", per_minute(settings.rate_limit_overall), "429"),
        ("refused attempts without a valid token", per_minute(settings.rate_limit_unknown_per_address), "429"),
        ("`limit` of a page", f"{DEFAULT_LIMIT}, at most {MAX_LIMIT}", "400"),
        ("`wait` of a payment", f"{settings.max_wait_seconds} s", "answered after that time"),
        ("`expires_in`", f"{DEFAULT_EXPIRY_SECONDS} s, at most {MAX_EXPIRY_SECONDS} s", "422"),
        ("requests in progress, per process", f"{settings.max_requests_in_flight:,}", "503"),
    ]
    return table(("what", "limit", "beyond it"), rows)


def _size(count: int) -> str:
    size, name = next(unit for unit in UNITS if count % unit[0] == 0)
    return f"{count // size:,} {name}"
