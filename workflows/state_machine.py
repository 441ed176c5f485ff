"""Define status machines as data: which event leads from which status to which.

Every entity with a life cycle states its transitions once, in its ``states.py``. Code, CHECK constraints, the trigger that
refuses other transitions, the diagrams in ``docs/`` and the exhaustive tests all follow from that one table, so they cannot
disagree. No state-machine library is used, because a dictionary and two errors are enough.
"""

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Transition:
    """A transition (an edge of the machine): ``event`` leads from the status ``source`` to ``target``."""

    source: StrEnum
    event: StrEnum
    target: StrEnum


@dataclass(frozen=True)
class StateMachine:
    """The life cycle of one kind of entity.

    ``remarks`` are events that do not change the status, such as a QR code to show, a doubt or a request to cancel. They add a
    version and a history row like any other event, but are not transitions.
    """

    name: str
    initial: tuple[StrEnum, ...]
    transitions: tuple[Transition, ...]
    remarks: tuple[StrEnum, ...] = ()
    _targets: dict[tuple[str, str], StrEnum] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        targets: dict[tuple[str, str], StrEnum] = {}
        for edge in self.transitions:
            key = (str(edge.source), str(edge.event))
            if key in targets:
                raise ValueError(f"{self.name}: two edges leave {edge.source} by {edge.event}")
            targets[key] = edge.target
        object.__setattr__(self, "_targets", targets)

    @property
    def statuses(self) -> tuple[StrEnum, ...]:
        """All statuses, in the order of the enumeration that declares them."""
        return tuple(type(self.initial[0]))

    @property
    def events(self) -> tuple[StrEnum, ...]:
        """All events that change the status, without duplicates, in the order of the table."""
        return tuple(dict.fromkeys(edge.event for edge in self.transitions))

    def target(self, status: str, event: str) -> StrEnum | None:
        """Return the status that ``event`` leads to from ``status``, or ``None`` if there is no such edge."""
        return self._targets.get((str(status), str(event)))

    def possible(self, status: str) -> tuple[str, ...]:
        """Return the events that are possible in ``status``, as texts for an error message."""
        return tuple(str(edge.event) for edge in self.transitions if edge.source == status)

    def is_terminal(self, status: str) -> bool:
        """Return whether no event leads out of ``status``."""
        return not self.possible(status)

    def edges(self) -> Iterator[tuple[str, str]]:
        """Return the distinct pairs (source, target) that the database's trigger allows, in table order."""
        return iter(dict.fromkeys((str(edge.source), str(edge.target)) for edge in self.transitions))


_MEMBER = re.compile(r'^\s+[A-Z_0-9]+ = "(?P<value>\w+)"(?:  # (?P<comment>.+))?$', re.MULTILINE)


def member_comments(values: type[StrEnum]) -> dict[str, str]:
    """Return each member's comment in the source, by the member's value; an empty text if it has none."""
    return {found["value"]: found["comment"] or "" for found in _MEMBER.finditer(inspect.getsource(values))}
