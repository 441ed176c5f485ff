"""Bodies of requests and answers about statements, reconciliation runs and breaks."""

from datetime import date, datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, Field
from typing_extensions import TypeAliasType

from api.schemas.base import Body, Printable, unset
from api.schemas.enumerations import one_of
from api.schemas.integer_types import Count, Currency, Cursor, Minor, RunNumber
from api.schemas.provider_names import StatementProvider
from api.schemas.settlements import LineOut, SettlementLineKind, SettlementOut, UncomparedOut
from workflows.errors import Detail, InvalidRequest
from workflows.providers.statement_mapping import LineKind, StatementMapping
from workflows.reconciliation.classify import Category
from workflows.reconciliation.resolve_break import Resolution as ResolutionIn
from workflows.reconciliation.resolve_break import ResolutionRequest
from workflows.reconciliation.sign_off import UncomparedAcceptance
from workflows.settlements.states import SettlementStatus


class StatementIn(Body):
    """A small statement as JSON; larger ones are sent as a file."""

    masked_later = frozenset({"lines"})  # card numbers in lines are masked, as those in files are

    provider: StatementProvider
    mapping: StatementMapping | None = None
    lines: list[dict[str, Any]] = Field(
        min_length=1, description="One object per line, with the mapping's columns as names"
    )


StatementSource = TypeAliasType("StatementSource", Literal["api", "upload"])
StatementFormat = TypeAliasType("StatementFormat", Literal["csv", "json_lines"])
StatementLineKind = TypeAliasType("StatementLineKind", LineKind)
BreakKind = TypeAliasType(
    "BreakKind",
    Annotated[
        str,
        one_of(
            (*get_args(SettlementLineKind.__value__), *get_args(LineKind)),
            "What our line, or the provider's, records.",
        ),
    ],
)
Resolution = TypeAliasType("Resolution", ResolutionIn)


class StatementOut(BaseModel):
    """A provider's statement as received. Only the newest of each provider is compared."""

    id: str
    settlement_id: str
    number: RunNumber
    provider: str
    source: StatementSource
    format: StatementFormat
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    size_bytes: Annotated[int, Field(ge=0)]
    line_count: Count
    mapping: StatementMapping
    created_at: datetime
    created_by: str


class StatementsOut(BaseModel):
    """The statements of a settlement, newest first."""

    data: list[StatementOut]


class CategorySum(BaseModel):
    """The number of lines or matched pairs of a category, and their sums on both sides, in minor units."""

    count: Count
    ours: Minor
    theirs: Minor
    difference: Minor
    fee_difference: Minor


class SideSum(BaseModel):
    """The sums of one side of a comparison: our books, or the provider's statement."""

    count: Count
    amount: Minor
    fees: Minor


class TheirSum(SideSum):
    """The provider's side. Amounts in other currencies are only in ``other_currencies``."""

    other_currencies: dict[str, Minor]


class EndedSum(BaseModel):
    """The count and sum (minor units) of payments and refunds in doubt that a statement decided."""

    count: Count
    amount: Minor


class RunSummary(BaseModel):
    """The sums of a reconciliation run.

    ``difference`` is ours minus theirs. The differences of the categories add up to it exactly.
    """

    currency: Currency
    ours: SideSum
    theirs: TheirSum
    difference: Minor
    fee_difference: Minor
    categories: dict[Category, CategorySum]
    uncompared: UncomparedOut
    ended_by_statement: Annotated[
        EndedSum,
        Field(
            description="Payments and refunds in doubt that a statement of this settlement decided; refunds are negative."
            " Runs of an earlier release lack it"
        ),
    ] = Field(default_factory=unset)


class ReconcileIn(Body):
    """Whether to sign the day off although some lines were not compared, and the reason."""

    accept_uncompared: bool = False
    note: Annotated[Printable, Field(min_length=1, max_length=500)] | None = Field(
        None, description="The reason; required with `accept_uncompared`, and only allowed with it"
    )

    def to_acceptance(self) -> UncomparedAcceptance | None:
        """Convert to ``UncomparedAcceptance``. Raises ``InvalidRequest`` if only flag or note is given."""
        if self.accept_uncompared and self.note is None:
            raise InvalidRequest(Detail("note", "State why these lines need no comparison"))
        if self.note is not None and not self.accept_uncompared:
            raise InvalidRequest(Detail("accept_uncompared", "Must be true if a note is sent"))
        return UncomparedAcceptance(self.note) if self.note is not None else None


class FetchOut(BaseModel):
    """The result of fetching a provider's statement before the run."""

    provider: str
    statement_id: str | None
    trouble: str | None


class RunOut(BaseModel):
    """A numbered comparison of a settlement with its statements."""

    run: RunNumber
    settlement_id: str
    at: datetime
    by: str
    statement_ids: list[str]
    summary: RunSummary


class NewRunOut(RunOut):
    """A comparison that was just made, with its effect on the settlement."""

    status: SettlementStatus
    open_breaks: Count
    fetched: list[FetchOut]


class RunsOut(BaseModel):
    """The reconciliation runs of a settlement, newest first."""

    data: list[RunOut]


class OurLine(BaseModel):
    """Our line of a break."""

    entity_id: str
    amount: Minor
    fee: Minor
    currency: Currency
    our_reference: str | None
    provider_reference: str | None
    occurred_at: datetime
    business_date: date


class TheirLine(BaseModel):
    """The provider's line of a break."""

    statement_id: str
    line_number: Annotated[int, Field(ge=0)]
    kind: StatementLineKind
    amount: Minor
    fee: Minor | None
    currency: Currency
    our_reference: str | None
    provider_reference: str | None
    moved: Annotated[bool, Field(description="Whether the provider says that money moved")]
    occurred_at: datetime | None
    occurred_on: date | None


class BreakOut(BaseModel):
    """A difference between our books and a provider's statement.

    ``ours`` and ``theirs`` are amounts in minor units; for a ``fee_mismatch`` they are fees.
    """

    id: str
    settlement_id: str
    run: RunNumber
    category: Category
    provider: str
    kind: BreakKind
    entity_id: str | None
    our_reference: str | None
    provider_reference: str | None
    currency: Currency
    ours: Minor | None
    theirs: Minor | None
    difference: Minor
    fee_difference: Minor
    our_line: OurLine | None
    their_line: TheirLine | None
    opened_at: datetime
    age_days: Count
    owner: str
    waits_for: str | None = Field(
        description="The payment or refund that their line names, which was not final. Wait until it is compared again, or"
        " `confirm` it if the line comes from an uploaded file and is right"
    )
    resolution: Resolution | None
    note: str | None
    reference: str | None
    other_reference: str | None = Field(
        description="The adjustment in the currency of their line, if that differs from the settlement's"
    )
    resolved_at: datetime | None
    resolved_by: str | None


class BreaksOut(BaseModel):
    """A page of the breaks of the last run, newest first."""

    data: list[BreakOut]
    next_cursor: Cursor


class ExportOut(BaseModel):
    """A settlement with all its lines, and the breaks of its last run."""

    settlement: SettlementOut
    lines: list[LineOut]
    breaks: list[BreakOut]


class ResolveIn(Body):
    """How to resolve a break. ``note`` is the reason; ``reference`` is the target of a link.

    ``confirm`` completes the payment or refund in doubt that the provider's line quotes, if the line agrees with the request.
    """

    resolution: ResolutionIn
    note: Annotated[Printable, Field(max_length=500)] | None = None
    reference: Annotated[Printable, Field(max_length=80)] | None = None

    def to_request(self) -> ResolutionRequest:
        """Convert to the use-case's ``ResolutionRequest``."""
        return ResolutionRequest(self.resolution, self.note, self.reference)


class AssignIn(Body):
    """The new owner of a break."""

    owner: Annotated[Printable, Field(max_length=80)]
