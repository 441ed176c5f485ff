"""Store how often each fault was applied, and until when inquiries about a reference give a false answer.

The state must survive a restart, or a fault would be applied twice.
"""

from sandbox.faults import Fate
from sandbox.operations import Family
from sandbox.sqlite_storage import SqliteStorage
from sandbox.timestamps import MICROSECONDS_PER_MILLISECOND

TIMES = "SELECT times FROM strikes WHERE name = ?"
STRIKE = "INSERT INTO strikes (name, times) VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET times = times + 1"
MARK = "INSERT OR IGNORE INTO marks (reference, family, hidden_until, dark_until) VALUES (?, ?, ?, ?)"
MARKED = "SELECT hidden_until, dark_until FROM marks WHERE reference = ? AND family = ?"


def apply_once(storage: SqliteStorage, name: str, *, at_most: int) -> bool:
    """Count an application of the fault ``name`` and return True.

    If the fault was applied ``at_most`` times already, return False.
    """
    rows = storage.query(TIMES, (name,))
    if rows and rows[0][0] >= at_most:
        return False
    storage.write(STRIKE, (name,))
    return True


def start_false_answers(storage: SqliteStorage, reference: str, *, family: Family, fate: Fate, at: int) -> None:
    """Answer inquiries about ``reference`` falsely for the durations in ``fate``.

    The answer is "not found" until ``at`` + ``hidden_ms``, and 503 until ``at`` + ``dark_ms``. ``at`` is in microseconds.
    Later calls with the same reference and family have no effect.
    """
    if not fate.hidden_ms and not fate.dark_ms:
        return
    hidden_until = at + fate.hidden_ms * MICROSECONDS_PER_MILLISECOND
    dark_until = at + fate.dark_ms * MICROSECONDS_PER_MILLISECOND
    storage.write(MARK, (reference, family, hidden_until, dark_until))


def is_hidden(storage: SqliteStorage, reference: str, *, family: Family, at: int) -> bool:
    """Return whether an inquiry at ``at`` must answer "not found", whatever the real status is."""
    return _until(storage, reference, family=family)[0] > at


def is_unavailable(storage: SqliteStorage, reference: str, *, family: Family, at: int) -> bool:
    """Return whether an inquiry at ``at`` must answer 503."""
    return _until(storage, reference, family=family)[1] > at


def _until(storage: SqliteStorage, reference: str, *, family: Family) -> tuple[int, int]:
    rows = storage.query(MARKED, (reference, family))
    return (rows[0][0], rows[0][1]) if rows else (0, 0)
