"""The two database profiles of a state folder: the ordinary one, and one whose clock can be moved.

They share the servers and nothing else: each has its own database, broker number and sandbox ledger. So a demonstration can
let days pass in seconds while a stack started with `up` in the same folder stays in the present.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mpac.cli.errors import UserError


@dataclass(frozen=True, slots=True)
class DatabaseProfile:
    """The places where a stack stores its data: names in the servers and in the state folder."""

    database: str
    broker_number: int
    sandbox_folder: str


ORDINARY = DatabaseProfile("mpac", 0, "sandbox")
MOVABLE = DatabaseProfile("mpac_movable", 1, "sandbox-movable")
"""The profile whose database and provider have clocks that ``mpac.stack.movable_clock`` moves."""

SERVERS_OF_THE_USERS = ("MPAC_DATABASE_URL", "MPAC_BROKER_URL", "MPAC_SANDBOX_URL")


def check_profile(profile: DatabaseProfile, user: Mapping[str, str]) -> None:
    """Raise ``UserError`` if the clock of a server that is not ours would have to be moved."""
    if profile is MOVABLE and (name := next((name for name in SERVERS_OF_THE_USERS if user.get(name)), None)):
        raise UserError(
            f"Only the clocks of servers that `up` starts can be moved: unset {name}, or start without --movable-clock."
        )
