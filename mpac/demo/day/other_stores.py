"""Count the cash of the terminals' stores, and wait until workers have reconciled the settlements of these stores.

The settlements must agree with the provider's statements despite all faults.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from mpac.demo.day.sales_scenes import Story
from mpac.demo.day.stores import NO_CARD_FILES
from mpac.demo.day.users import User

SLA = timedelta(hours=24)


@dataclass(slots=True)
class OtherStores:
    """The merchant of the terminals' stores, seen by its administrator."""

    owner: User
    counted: list[str] = field(default_factory=list)

    async def count_cash(self) -> None:
        """Count the drawers of the other stores, and set the policy for their card company.

        Raises ``UnexpectedAnswer``.
        """
        for day in await self._days("closed"):
            if day["cash_expected"]:
                await self.owner.post(f"/settlements/{day['id']}/cash-count", {"cash_actual": day["cash_expected"]})
            self.counted.append(day["id"])
        for store_id in sorted({day["store_id"] for day in await self._days()}):
            await self.owner.put(f"/stores/{store_id}/statement-policies", NO_CARD_FILES)

    async def wait_until_reconciled(self, story: Story) -> None:
        """Wait until the workers have signed off every day whose statement is due.

        Raises ``UnexpectedAnswer``.
        """
        now = await story.clock.now()
        due = [day["id"] for day in await self._days() if datetime.fromisoformat(day["end_at"]) + SLA < now]
        ended = [
            await self.owner.wait_for(
                f"/settlements/{settlement_id}",
                until=lambda found: found["status"] == "reconciled",
                counted="settlement",
            )
            for settlement_id in due
        ]
        sold = [day for day in ended if day["totals"]["count"]]
        story.facts["the terminals' days are reconciled by a worker"] = bool(sold) and all(
            day["reconciled_by"].startswith("worker-other") for day in ended
        )
        count = sum(day["totals"]["count"] for day in sold)
        await story.say(
            f"And the days of the terminals' stores: {count:,} lines, in spite of lost answers and a killed worker, and "
            "the provider's statements agree. The workers signed them without a person.",
            style="green",
        )

    async def _days(self, status: str = "") -> list[dict[str, Any]]:
        found = await self.owner.read(f"/settlements?limit=100{f'&status={status}' if status else ''}")
        days: list[dict[str, Any]] = found["data"]
        return days
