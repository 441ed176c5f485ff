"""Choose the port of each process, always on 127.0.0.1.

| ``--ports`` | ports |
|---|---|
| ``auto`` | the documented block from 8800, and a free port instead of each one that is taken |
| a number | exactly the block that starts there; if one of its ports is taken, the stack does not start |
| ``free`` | any free ports, for tests that run side by side |

Free ports come from below the range that the kernel uses for outgoing connections. The stack reserves all its ports as long as
it runs, because its last process listens only after several seconds, and a process that is being restarted does not listen.
"""

import random
import socket
import sys
from collections.abc import Iterable

from mpac.cli.errors import UserError, WrongUsage
from mpac.stack.listeners import listener_on

HOST = "127.0.0.1"
BASE = 8800
ORDER = ("api", "flower", "sandbox", "postgres", "valkey")  # the port is BASE + the position
FREE_RANGE = range(20_000, 32_000)
TRIES = 200  # with a thousand of the 12,000 taken, 200 misses in a row do not happen
LOWEST, HIGHEST = 1024, 65_535 - len(ORDER)


class ReservedPorts:
    """Ports that no other stack on this machine chooses while this object exists; a server can still listen on them.

    A port is claimed by binding an abstract Unix socket with its number in the name. The kernel lets only one process do
    that, of whatever user, and releases the claim when the process ends. A TCP socket that is bound but does not listen
    keeps away programs that take any port. The TCP socket alone would not be enough: to be bound beside connections that are
    closing, it must let other sockets bind as well.
    """

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []

    def reserve(self, port: int) -> bool:
        """Reserve the port. Return False if another process listens there or has reserved it."""
        claim = _claim(port)
        if claim is None:
            return False
        holder = socket.socket()
        try:
            if not is_free(port):
                raise OSError
            if sys.platform == "linux":
                holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind((HOST, port))
        except OSError:
            holder.close()
            claim.close()
            return False
        # Where no claim protects the port, set it only after the bind: a server, which sets it too, can then listen here.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._sockets += [holder, claim]
        return True

    def release(self) -> None:
        """Release the ports."""
        while self._sockets:
            self._sockets.pop().close()

    def __del__(self) -> None:
        self.release()


def choose_ports(wish: str, names: Iterable[str], *, reserved: ReservedPorts | None = None) -> dict[str, int]:
    """Return a port for each name, reserved in ``reserved``.

    ``wish`` is ``auto``, ``free`` or the first port of a block.
    """
    wanted = [name for name in ORDER if name in set(names)]
    reserved = reserved or ReservedPorts()
    if wish == "free":
        return _free_ports(wanted, taken=set(), reserved=reserved)
    block = {name: base_of(wish) + ORDER.index(name) for name in wanted}
    busy = [name for name, port in block.items() if not reserved.reserve(port)]
    if busy and wish != "auto":
        reserved.release()
        port = block[busy[0]]
        owner = listener_on(port) or "another local stack, or a process of another user"
        raise UserError(
            f"Port {port} for {busy[0]} is taken by {owner}: choose another block with --ports, or use --ports auto."
        )
    return block | _free_ports(busy, taken=set(block.values()), reserved=reserved)


def is_free(port: int) -> bool:
    """Return whether a server could listen there now."""
    with socket.socket() as probe:
        # As servers do, so that a closing connection does not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def _claim(port: int) -> socket.socket | None:
    """Claim the port among stacks; ``None`` if another stack has it.

    Without abstract sockets, nothing is claimed.
    """
    claim = socket.socket(socket.AF_UNIX)
    try:
        if sys.platform == "linux":
            claim.bind(f"\0mpac-port-{port}")
    except OSError:
        claim.close()
        return None
    return claim


def base_of(wish: str) -> int:
    """Return the first port of the block that ``--ports`` asks for. Raises ``WrongUsage``."""
    if wish == "auto":
        return BASE
    if not wish.isdecimal() or not LOWEST <= int(wish) <= HIGHEST:
        raise WrongUsage(f"--ports must be auto, free or a number from {LOWEST} to {HIGHEST}, not {wish!r}.")
    return int(wish)


def _free_ports(names: list[str], *, taken: set[int], reserved: ReservedPorts) -> dict[str, int]:
    chosen: dict[str, int] = {}
    for name in names:
        candidates = random.sample(FREE_RANGE, TRIES)
        port = next((port for port in candidates if port not in taken and reserved.reserve(port)), None)
        if port is None:
            raise UserError(
                f"No free port was found between {FREE_RANGE.start} and {FREE_RANGE.stop}: stop some servers, then try again."
            )
        chosen[name] = port
        taken.add(port)
    return chosen
