"""Define what payments or refunds add to the executor: how a row is claimed, its provider called, and the answer recorded.

| phase  | methods                                   | payments and refunds differ in                                       |
|--------|-------------------------------------------|----------------------------------------------------------------------|
| claim  | ``facts``, ``build_request`` (``leases``) | the columns that decide, and the request to the provider             |
| call   | ``answer_locally``, ``call_provider``     | the operation of the provider for a step                             |
| record | ``record``                                | the statement, and its effect on bills, payments and the ledger      |
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
class AnsweredClaim(Generic[RequestT]):
    """A claimed row, its provider's answer (``None`` if no provider was called), and the decision what to record."""

    claim: Claim[RequestT]
    answer: Answer | None
    decision: Decision


class Workload(LeaseTable[RequestT]):
    """A kind of row that a ``LeaseExecutor`` processes. It has no state, so one instance serves every executor."""

    @abstractmethod
    def answer_locally(self, claim: Claim[RequestT]) -> Answer | None:
        """Return the answer of a local provider, or ``None`` if the provider is remote.

        Cash and the terminal's card application are local providers.
        """

    @abstractmethod
    async def call_provider(self, provider: Provider, claim: Claim[RequestT], *, not_after: float) -> Answer:
        """Make the remote provider's call for the claim's step.

        Request no charge after ``not_after`` (the loop's time).
        """

    def is_alone(self, claim: Claim[RequestT]) -> bool:  # noqa: ARG002 - the parameter of the interface
        """Return whether ``record_alone`` can record the answer, unless the row changed during the call."""
        return False

    async def record_alone(self, group: list[AnsweredClaim[RequestT]], *, worker: str) -> dict[str, str]:
        """Record, by one statement, those of ``group`` that affect only their own row and the ledger.

        Return the new status of each recorded row by id. The others are unchanged, and ``record`` must record them.
        """
        raise NotImplementedError

    @abstractmethod
    async def record(
        self, connection: AsyncConnection, group: list[AnsweredClaim[RequestT]], *, worker: str
    ) -> dict[str, str]:
        """Record ``group``, whose bills the transaction has locked, and everything that follows from it.

        Return the new status of each row by id. A row whose fence was lost is absent; its answer is stored as evidence.
        """


def no_call_error(step: Step) -> ValueError:
    """Return the error to raise for a step that has no provider call.

    Raising the error keeps such a step from moving money.
    """
    return ValueError(f"no provider call belongs to the step {step}")
