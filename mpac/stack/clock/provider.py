"""Read and move the clock of the sandbox provider through its control route."""

from dataclasses import dataclass

import aiohttp

from mpac.cli.errors import UserError

OK = 200
ANSWER_WITHIN = aiohttp.ClientTimeout(total=2)
"""The product's statements wait during a move, and give up after three seconds (MPAC_LOCK_TIMEOUT_MS)."""


class ProviderUnreachable(UserError):
    """The provider did not answer, so its clock may or may not have been moved."""


@dataclass(frozen=True, slots=True)
class ProviderClock:
    """The provider's clock."""

    session: aiohttp.ClientSession
    url: str
    control_key: str

    async def ahead_seconds(self) -> int:
        """Return how many seconds the clock is ahead.

        Raises ``ProviderUnreachable``, or ``UserError`` with the provider's answer.
        """
        return await self._request("GET")

    async def move(self, ahead_seconds: int) -> int:
        """Move the clock forward and return how far ahead it is now.

        Raises the same errors as ``ahead_seconds``.
        """
        return await self._request("PUT", {"ahead_seconds": ahead_seconds})

    async def _request(self, method: str, body: dict[str, int] | None = None) -> int:
        address = f"{self.url.rstrip('/')}/control/clock"
        headers = {"Authorization": f"Bearer {self.control_key}"}
        try:
            async with self.session.request(
                method, address, json=body, headers=headers, timeout=ANSWER_WITHIN
            ) as answer:
                if answer.status != OK:
                    raise UserError(f"The provider at {self.url} refuses ({answer.status}): {await answer.text()}")
                return int((await answer.json())["ahead_seconds"])
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError) as error:
            raise ProviderUnreachable(
                f"The provider at {self.url} does not answer: check with `python3 run.py status` whether it is up."
            ) from error
