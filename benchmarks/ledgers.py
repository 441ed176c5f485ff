"""Give each target a ledger of its own at the one stand-in provider, so that each can be audited.

The product's auditors compare its whole database with the whole ledger. A charge for a rival's payment would be money that
moved for a payment that is not ours, and an emptied ledger would hold no charge for the payments of earlier rounds.
"""

from benchmarks.proof import Sandbox
from mpac.stack.local_stack import LocalStack
from mpac.stack.state_folder import private_folder

SERVICE = "sandbox"


class Ledgers:
    """The ledgers of the targets; the provider uses one of them at a time."""

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack
        self._folder = stack.home.path / stack.profile.sandbox_folder
        self._owner = "product"  # the folder of the stack: the one that `mpac invariants` finds

    @property
    def sandbox(self) -> Sandbox:
        """The stand-in provider."""
        return Sandbox(self._stack.urls.sandbox, self._stack.control_key)

    async def switch_to(self, name: str) -> None:
        """Restart the provider on the ledger of target ``name``. No target may be running."""
        if name == self._owner:
            return
        await self._stack.stop(SERVICE)
        self._folder.rename(self._folder.with_name(f"{SERVICE}-of-{self._owner}"))
        own = self._folder.with_name(f"{SERVICE}-of-{name}")
        if own.exists():
            own.rename(self._folder)
        private_folder(self._folder)
        self._owner = name
        await self._stack.start(SERVICE)
