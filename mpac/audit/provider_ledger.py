"""Read the sandbox provider's ledger over HTTP, page by page. It lists every movement of money that really happened."""

from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from mpac.cli.errors import UserError

SANDBOX = "sandbox"
"""The provider whose ledger can be read, by its name in our database."""

UNAUTHORIZED = 401
KINDS = ("charge", "reversal", "refund")
TEXTS, NUMBERS = ("kind", "reference", "payment_id", "currency"), ("amount", "fee")
PAGE = 5_000  # the provider's limit
TIMEOUT_SECONDS = 30
MOST_SHOWN = 200  # characters of an invalid line


@dataclass(slots=True)
class PaymentMovements:
    """The amounts that the provider moved for one payment, in minor units."""

    charges: int = 0
    reversals: int = 0
    charged: int = 0
    reversed: int = 0
    refunded: int = 0
    currencies: set[str] = field(default_factory=set)
    references: set[str] = field(default_factory=set)

    def add(self, movement: dict[str, Any]) -> None:
        """Add a movement of the provider's ledger to the sums."""
        amount = int(movement["amount"])
        self.currencies.add(movement["currency"])
        self.references.add(movement["reference"])
        if movement["kind"] == "charge":
            self.charges += 1
            self.charged += amount
        elif movement["kind"] == "reversal":
            self.reversals += 1
            self.reversed += amount
        else:
            self.refunded += amount

    @property
    def net_charged(self) -> int:
        """The amount charged and not reversed; refunds are not subtracted."""
        return self.charged - self.reversed


@dataclass(frozen=True, slots=True)
class ProviderLedger:
    """The number of movements in the provider's ledger, and the sums of the movements of each payment."""

    movements: int
    by_payment: dict[str, PaymentMovements]


async def read_ledger(sandbox_url: str, *, control_key: str) -> ProviderLedger:
    """Read the provider's ledger, and return its sums.

    Raises ``UserError`` if the provider does not answer.
    """
    by_payment: dict[str, PaymentMovements] = defaultdict(PaymentMovements)
    count = 0
    async for movement in movements(sandbox_url, control_key=control_key):
        by_payment[movement["payment_id"]].add(movement)
        count += 1
    return ProviderLedger(count, dict(by_payment))


async def movements(sandbox_url: str, *, control_key: str) -> AsyncIterator[dict[str, Any]]:
    """Yield every line of the ledger, oldest first. Raises ``UserError`` if the provider does not answer."""
    try:
        async for movement in _movements(sandbox_url.rstrip("/"), control_key):
            yield movement
    except aiohttp.ClientResponseError as error:
        if error.status != UNAUTHORIZED:
            raise _unavailable_error(sandbox_url, error) from error
        raise UserError(
            f"The sandbox provider at {sandbox_url} refuses the control key: set MPAC_SANDBOX_CONTROL_KEY to the right one."
        ) from error
    except (aiohttp.ClientError, TimeoutError) as error:
        raise _unavailable_error(sandbox_url, error) from error
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(f"The sandbox provider at {sandbox_url} did not return a ledger: {error!r}") from error


def _unavailable_error(sandbox_url: str, error: Exception) -> UserError:
    return UserError(
        f"The sandbox provider at {sandbox_url} does not show its ledger ({type(error).__name__}): check that it is up."
    )


async def _movements(url: str, control_key: str) -> AsyncIterator[dict[str, Any]]:
    after: int | None = 0
    headers = {"Authorization": f"Bearer {control_key}"}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS), headers=headers) as session:
        while after is not None:
            params = {"after": str(after), "limit": str(PAGE)}
            async with session.get(f"{url}/control/ledger", params=params, raise_for_status=True) as response:
                page = await response.json()
            for movement in page["data"]:
                yield _check_movement(movement)
            after = page["next"]


def _check_movement(movement: dict[str, Any]) -> dict[str, Any]:
    """Return ``movement`` if it is a valid line of the ledger.

    Raises ``ValueError``, ``LookupError`` or ``TypeError`` otherwise.
    """
    is_line = movement["kind"] in KINDS and all(type(movement[name]) is str for name in TEXTS)
    if not is_line or not all(type(movement[name]) is int for name in NUMBERS):
        raise ValueError(f"invalid line {str(movement)[:MOST_SHOWN]}")
    return movement
