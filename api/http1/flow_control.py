"""Limit how far a connection reads ahead, and how long a client may leave its responses unread.

| situation                                        | reaction                                                                |
|--------------------------------------------------|-------------------------------------------------------------------------|
| more than ``HIGH_WATER_LIMIT`` bytes wait behind | reading stays paused (uvicorn would resume it when the application      |
| the running request                              | calls ``receive()``)                                                    |
| a client does not read its response              | aborted, unless it reads ``MIN_BYTES_READ`` per ``CLIENT_READ_SECONDS`` |

Without the second limit, a response that is not read would occupy its connection, its memory and its request permanently.
"""

import asyncio

from uvicorn.protocols.http.flow_control import FlowControl

CLIENT_READ_SECONDS = 30.0
MIN_BYTES_READ = 65_536  # in that time, which is 2 kB/s, the rate at which requests must arrive too


class SmallEvent(asyncio.Event):
    """An event whose waiters are in a list.

    asyncio's own keeps them in a deque, which takes 760 bytes while it is empty, twice per connection: with thousands of
    waiting terminals that is a seventh of their memory.
    """

    def __init__(self) -> None:
        super().__init__()
        self._waiters = []  # type: ignore[assignment]


class ConnectionFlowControl(FlowControl):
    """uvicorn's flow control, extended by the two limits of the table above."""

    is_held = False
    """Whether more than ``HIGH_WATER_LIMIT`` bytes wait behind the running request."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self._is_writable_event = SmallEvent()
        self._is_writable_event.set()
        self._read_timer: asyncio.TimerHandle | None = None
        self._left = 0  # unread bytes when the timer was started

    def resume_reading(self) -> None:
        """Resume reading, unless ``is_held``."""
        if not self.is_held:
            super().resume_reading()

    def pause_writing(self) -> None:
        """Call uvicorn's method, and start the timer: the client must read ``MIN_BYTES_READ`` in time."""
        super().pause_writing()
        if self._read_timer is None:
            self._start_timer()

    def resume_writing(self) -> None:
        """Call uvicorn's method and stop the timer: the client has read nearly everything or has disconnected."""
        super().resume_writing()
        if self._read_timer:
            self._read_timer.cancel()
            self._read_timer = None

    def _start_timer(self) -> None:
        self._left = self._transport.get_write_buffer_size()
        self._read_timer = asyncio.get_running_loop().call_later(CLIENT_READ_SECONDS, self._check)

    def _check(self) -> None:
        if self._left - self._transport.get_write_buffer_size() >= MIN_BYTES_READ:
            self._start_timer()
        else:
            self._read_timer = None
            self._transport.abort()
