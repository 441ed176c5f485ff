"""The stores of the terminals have days too: they are compared with the provider's statements, faults included."""

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
        """Count the drawers of the other stores, and set the policy for their card company. Raises ``UnexpectedAnswer``."""
        for one in await self._days("closed"):
            if one["cash_expected"]:
                await self.owner.post(f"/settlements/{one['id']}/cash-count", {"cash_actual": one["cash_expected"]})
            self.counted.append(one["id"])
        for store_id in sorted({one["store_id"] for one in await self._days()}):
            await self.owner.put(f"/stores/{store_id}/statement-policies", NO_CARD_FILES)

    async def wait_until_reconciled(self, story: Story) -> None:
        """Wait until the workers have signed every day whose statement is due. Raises ``UnexpectedAnswer``."""
        now = await story.clock.now()
        due = [one["id"] for one in await self._days() if datetime.fromisoformat(one["end_at"]) + SLA < now]
        ends = [
            await self.owner.wait_for(
                f"/settlements/{one}", until=lambda found: found["status"] == "reconciled", counted="settlement"
            )
            for one in due
        ]
        sold = [one for one in ends if one["totals"]["count"]]
        story.facts["the terminals' days are reconciled by a worker"] = bool(sold) and all(
            one["reconciled_by"].startswith("worker-other") for one in ends
        )
        count = sum(one["totals"]["count"] for one in sold)
        await story.say(
            f"And the days of the terminals' stores: {count:,} lines, in spite of lost answers and a killed worker, and "
            "the provider's statements agree. The workers signed them without a person.",
            style="green",
        )

    async def _days(self, status: str = "") -> list[dict[str, Any]]:
        found = await self.owner.read(f"/settlements?limit=100{f'&status={status}' if status else ''}")
        days: list[dict[str, Any]] = found["data"]
        return days
