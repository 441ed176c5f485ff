"""A second implementation of the matcher in plain Python, written only from the texts of ``reconciliation.classify``.

It shares no code with the SQL. If the two disagree, one of them is wrong.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo


@dataclass(frozen=True, slots=True)
class Ours:
    """A line of our settlement."""

    kind: str
    entity_id: str
    our_reference: str | None
    provider_reference: str | None
    amount: int
    fee: int
    occurred_at: datetime
    business_date: date
    currency: str = "JPY"
    provider: str = "sandbox"


@dataclass(frozen=True, slots=True)
class Theirs:
    """A line of the provider's statement. It has ``at``, ``on``, or neither."""

    kind: str
    our_reference: str | None
    provider_reference: str | None
    amount: int
    fee: int | None
    at: datetime | None = None
    on: date | None = None
    is_settled: bool = True
    currency: str = "JPY"
    provider: str = "sandbox"

    def order(self) -> tuple[Any, ...]:
        """Return the sort key of a line: its fields, in the order in which the SQL numbers lines."""
        facts = (self.our_reference, self.provider_reference, self.provider, self.kind, not self.is_settled)
        more = (self.amount, self.currency, self.fee, self.at, self.on)
        return tuple((fact is None, "" if fact is None else fact) for fact in (*facts, *more))


@dataclass(frozen=True, slots=True)
class Classification:
    """A category with its line or pair of lines, and each side's amount in the settlement's currency."""

    category: str
    ours: Ours | None
    theirs: Theirs | None
    our_amount: int
    their_amount: int
    our_fee: int
    their_fee: int


@dataclass
class Books:
    """The input of a run. ``attempts`` maps our known references to whether the attempt succeeded."""

    ours: list[Ours]
    theirs: list[Theirs]
    as_of: datetime
    attempts: dict[str, bool] = field(default_factory=dict)
    sla: timedelta = timedelta(hours=24)
    tolerance: timedelta = timedelta(minutes=60)
    currency: str = "JPY"
    time_zone: str = "Asia/Tokyo"


def match(books: Books) -> list[Classification]:
    """Return one classification for each line or pair of lines."""
    ours = dict(enumerate(sorted(books.ours, key=lambda line: (line.entity_id, line.kind))))
    theirs = dict(enumerate(sorted(books.theirs, key=Theirs.order)))
    moved = {number: line.is_settled for number, line in theirs.items()}
    _undo(theirs, moved)
    pairs: dict[int, int] = {}
    left_ours, left_theirs = set(ours), {number for number, line in theirs.items() if line.kind != "reversal"}

    def pair_up(reference: str, *, agreeing: bool, among: Iterable[int]) -> None:
        queues: dict[Hashable, list[int]] = defaultdict(list)
        for number in sorted(among, key=lambda number: (not moved[number], number)):
            line = theirs[number]
            if getattr(line, reference) is not None and (moved[number] or not agreeing):
                amount = (line.currency, line.amount) if agreeing else None
                queues[line.provider, line.kind, getattr(line, reference), amount].append(number)
        for number in sorted(left_ours):
            line_ = ours[number]
            amount = (line_.currency, line_.amount) if agreeing else None
            queue = queues.get((line_.provider, line_.kind, getattr(line_, reference), amount))
            if queue:
                pairs[number] = queue.pop(0)
        left_ours.difference_update(pairs)
        left_theirs.difference_update(pairs.values())

    pair_up("our_reference", agreeing=True, among=set(left_theirs))
    pair_up("our_reference", agreeing=False, among=set(left_theirs))
    known = _known(books)
    unknown = {number for number in left_theirs if known(theirs[number]) is None}
    pair_up("provider_reference", agreeing=True, among=unknown)
    pair_up("provider_reference", agreeing=False, among=unknown & left_theirs)

    classifications = [
        _classify_pair(books, ours[our], theirs[their], has_moved=moved[their]) for our, their in pairs.items()
    ]
    taken = set(pairs.values())
    alone = [number for number in theirs if number not in taken]
    classifications += _classify_theirs(books, theirs, moved, alone, known, {theirs[number] for number in taken})
    classifications += _classify_ours(
        books, [ours[number] for number in sorted(left_ours)], [ours[number] for number in pairs]
    )
    return classifications


def _undo(theirs: dict[int, Theirs], moved: dict[int, bool]) -> None:
    charges: dict[Hashable, list[int]] = defaultdict(list)
    for number, line in theirs.items():
        if line.kind == "payment" and moved[number]:
            charges[_undo_key(line, line.amount)].append(number)
    for number, line in theirs.items():
        if line.kind == "reversal" and moved[number] and charges[_undo_key(line, -line.amount)]:
            moved[number] = moved[charges[_undo_key(line, -line.amount)].pop()] = False


def _undo_key(line: Theirs, amount: int) -> Hashable:
    return line.provider, line.our_reference or line.provider_reference, line.currency, amount


def _known(books: Books) -> Any:
    lines = {(line.provider, line.kind, line.our_reference) for line in books.ours}

    def known(line: Theirs) -> bool | None:
        """Return whether the attempt that the line refers to succeeded, or ``None`` if we do not know it."""
        reference = line.our_reference
        if reference is None:
            return None
        if reference in books.attempts and reference.startswith("rfd") == (line.kind == "refund"):
            return books.attempts[reference]
        kind = "refund" if line.kind == "refund" else "payment"
        return True if (line.provider, kind, reference) in lines else None

    return known


def _classify_pair(books: Books, ours: Ours, theirs: Theirs, *, has_moved: bool) -> Classification:
    counts = has_moved and theirs.currency == books.currency
    their_fee = (ours.fee if theirs.fee is None else theirs.fee) if counts else 0
    if not has_moved:
        category = "status_mismatch"
    elif theirs.currency != ours.currency:
        category = "currency_mismatch"
    elif theirs.amount != ours.amount:
        category = "amount_mismatch"
    elif theirs.fee is not None and theirs.fee != ours.fee:
        category = "fee_mismatch"
    elif _is_another_day(books, ours, theirs):
        category = "date_mismatch"
    else:
        category = "matched"
    return Classification(category, ours, theirs, ours.amount, theirs.amount if counts else 0, ours.fee, their_fee)


def _is_another_day(books: Books, ours: Ours, theirs: Theirs) -> bool:
    zone = ZoneInfo(books.time_zone)
    if theirs.on is not None:
        day = theirs.on
    elif theirs.at is not None:
        day = theirs.at.astimezone(zone).date()
    else:
        return False
    if day in (ours.occurred_at.astimezone(zone).date(), ours.business_date):
        return False
    if theirs.at is not None:
        earliest = latest = theirs.at
    else:
        earliest = datetime(day.year, day.month, day.day, tzinfo=zone)
        next_day = day + timedelta(days=1)
        latest = datetime(next_day.year, next_day.month, next_day.day, tzinfo=zone)
    return ours.occurred_at < earliest - books.tolerance or ours.occurred_at >= latest + books.tolerance


@dataclass
class _Used:
    """The references, ours and the provider's, that statement lines have used so far."""

    ours: set[Hashable] = field(default_factory=set)
    theirs: set[Hashable] = field(default_factory=set)

    def note(self, line: Theirs, *, is_unknown: bool) -> None:
        if line.our_reference:
            self.ours.add((line.provider, line.kind, line.our_reference))
        if is_unknown and line.provider_reference:
            self.theirs.add((line.provider, line.kind, line.provider_reference))

    def has(self, line: Theirs, *, is_unknown: bool) -> bool:
        by_ours = (line.provider, line.kind, line.our_reference) in self.ours
        return by_ours or (is_unknown and (line.provider, line.kind, line.provider_reference) in self.theirs)


def _classify_theirs(
    books: Books, theirs: dict[int, Theirs], moved: dict[int, bool], alone: list[int], known: Any, paired: set[Theirs]
) -> list[Classification]:
    used = _Used()
    for line in paired:
        used.note(line, is_unknown=True)
    classifications = []
    for number in alone:
        line = theirs[number]
        category = _name(line, known(line), used) if moved[number] else "matched"
        if moved[number]:
            used.note(line, is_unknown=known(line) is None)
        counts = moved[number] and line.currency == books.currency
        amount, fee = (line.amount, line.fee or 0) if counts else (0, 0)
        classifications.append(Classification(category, None, line, 0, amount, 0, fee))
    return classifications


def _name(line: Theirs, known: bool | None, used: _Used) -> str:
    if line.kind == "reversal" and known is not None:
        return "status_mismatch"
    if used.has(line, is_unknown=known is None):
        return "duplicate_provider"
    if known is None:
        return "missing_internally"
    return "date_mismatch" if known else "status_mismatch"


def _classify_ours(books: Books, alone: list[Ours], paired: list[Ours]) -> list[Classification]:
    used = Counter((line.provider, line.kind, line.provider_reference) for line in paired)
    classifications = []
    for line in alone:
        key = (line.provider, line.kind, line.provider_reference)
        if line.provider_reference is not None and used[key]:
            category = "duplicate_internal"
        else:
            category = "expected" if line.occurred_at + books.sla > books.as_of else "missing_at_provider"
        used[key] += 1
        classifications.append(Classification(category, line, None, line.amount, 0, line.fee, 0))
    return classifications
