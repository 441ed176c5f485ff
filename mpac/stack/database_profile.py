"""The two realms of a state folder: the ordinary one, and one whose clocks can be moved.

They share the servers and nothing else: each has a database, a broker's number and a provider's ledger of its own. So a
demonstration may let days pass in seconds, and what somebody keeps in the same folder stays in the present.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mpac.cli.errors import UserError


@dataclass(frozen=True, slots=True)
class DatabaseProfile:
    """Where a stack stores what it knows: names within the servers and within the state folder."""

    database: str
    broker_number: int
    sandbox_folder: str


ORDINARY = DatabaseProfile("mpac", 0, "sandbox")
MOVABLE = DatabaseProfile("mpac_movable", 1, "sandbox-movable")
"""Its database's and its provider's clocks are moved by ``mpac.stack.movable_clock``."""

SERVERS_OF_THE_USERS = ("MPAC_DATABASE_URL", "MPAC_BROKER_URL", "MPAC_SANDBOX_URL")


def check_profile(profile: DatabaseProfile, user: Mapping[str, str]) -> None:
    """Raise ``UserError`` where the clock of somebody else's server would have to be moved."""
    if profile is MOVABLE and (name := next((name for name in SERVERS_OF_THE_USERS if user.get(name)), None)):
        raise UserError(f"Only the clocks of servers of our own are moved: unset {name}, or start without it.")
