"""Define what an entity adds to the executor: how a row is claimed, how its provider is called, how the answer is recorded.

| phase  | methods                                | payments and refunds differ in                                       |
|--------|----------------------------------------|----------------------------------------------------------------------|
| claim  | ``facts``, ``build_request`` (``leases``) | the columns that decide, and the request to the provider              |
| call   | ``answer_locally``, ``call_provider``    | which operation of the provider a step means                          |
| record | ``record``                             | the statement, and its effect on bills, payments and the ledger        |
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Generic

from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.processing.decision import Decision
from workflows.processing.leases import Claim, LeaseTable, RequestT
from workflows.processing.next_step import Step
from workflows.providers.base import Answer, Provider


@dataclass(frozen=True, slots=True)
class Answered(Generic[RequestT]):
    """A claimed row, its provider's answer (``None``: no provider was called), and what that means."""

    claim: Claim[RequestT]
    answer: Answer | None
    decision: Decision


class Workload(LeaseTable[RequestT]):
    """One kind of row that a ``LeaseExecutor`` processes. Has no state: one instance serves every executor."""

    @abstractmethod
    def answer_locally(self, claim: Claim[RequestT]) -> Answer | None:
        """Return the answer of a local provider (cash, the terminal's own card application); ``None``: it is remote."""

    @abstractmethod
    async def call_provider(self, provider: Provider, claim: Claim[RequestT], *, not_after: float) -> Answer:
        """Do the claim's step at a remote provider. Send nothing that moves money after ``not_after`` (the loop's time)."""

    @abstractmethod
    async def record(
        self, connection: AsyncConnection, group: list[Answered[RequestT]], *, worker: str
    ) -> dict[str, str]:
        """Write ``group``, whose bills the transaction has locked, and all consequences.

        Return the present status of each row whose fence held, by id. What a row without one was answered is evidence.
        """


def no_call_error(step: Step) -> ValueError:
    """Return the error for a step that calls no provider, so that an unexpected step never moves money."""
    return ValueError(f"no provider call belongs to the step {step}")
