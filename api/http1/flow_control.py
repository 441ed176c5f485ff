"""Flow control of one connection: how much is read ahead, and how long a client may leave its answers unread.

| what                                                   | then                                                        |
|--------------------------------------------------------|-------------------------------------------------------------|
| requests wait behind the running one                   | nothing is read on, although the running one asks for its body |
| a client does not read its answer                      | aborted, unless it reads ``LEAST_TAKEN`` in ``TAKING_SECONDS``  |

Without the second limit, an answer that is not read would keep its connection, its memory and its request permanently.
"""

import asyncio

from uvicorn.protocols.http.flow_control import FlowControl

TAKING_SECONDS = 30.0
LEAST_TAKEN = 65_536  # bytes in that time: 2 kB/s, as for what is read


class Flow(FlowControl):
    """uvicorn's flow control with these two limits."""

    is_held = False
    """Whether requests wait."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self._taking: asyncio.TimerHandle | None = None
        self._left = 0  # bytes to be taken when the time began

    def resume_reading(self) -> None:
        """Read on, unless held."""
        if not self.is_held:
            super().resume_reading()

    def pause_writing(self) -> None:
        """Do as uvicorn does; from now on the client has to read something in time."""
        super().pause_writing()
        if self._taking is None:
            self._begin()

    def resume_writing(self) -> None:
        """Do as uvicorn does: the client has read nearly all, or is gone."""
        super().resume_writing()
        if self._taking:
            self._taking.cancel()
            self._taking = None

    def _begin(self) -> None:
        self._left = self._transport.get_write_buffer_size()
        self._taking = asyncio.get_running_loop().call_later(TAKING_SECONDS, self._check)

    def _check(self) -> None:
        if self._left - self._transport.get_write_buffer_size() >= LEAST_TAKEN:
            self._begin()
        else:
            self._taking = None
            self._transport.abort()
