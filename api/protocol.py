"""HTTP as it comes off the wire: what can't be parsed, is too long or never ends is answered here, in the contract's words.

| what                                              | answer                                                       |
|---------------------------------------------------|--------------------------------------------------------------|
| bytes that are no HTTP                            | 400, and the line is closed                                   |
| a head of more than ``MAX_HEAD_BYTES``            | 400, and the line is closed                                   |
| a request that does not get on                    | 400 after ``PATIENCE_SECONDS``, and the line is closed        |
| a line on which nothing comes                     | closed, as an idle one is                                     |
| ``Expect: 100-continue``                          | no 100, which is no code of ours: the body is simply read     |
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from api.errors import body_of
from workflows.errors import Detail, MalformedRequest
from workflows.ids import new_id
from workflows.rendering import render

MAX_HEAD_BYTES = 65_536  # far above what a terminal, its token and every proxy on the way need
PATIENCE_SECONDS = 30.0  # a terminal on a bad line needs a few seconds for a kilobyte
LEAST_BYTES = 65_536  # who sends as much in that time may go on: uploads are large


class EnvelopeProtocol(HttpToolsProtocol):
    """uvicorn's HTTP, whose refusals carry the error envelope, and which no slow or endless request holds for ever."""

    _is_whole = True  # no request has begun that is not complete
    _has_head = False
    _seen = _seen_before = 0  # bytes of the request that is coming in, now and when patience began
    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As uvicorn's; a line on which nothing comes is closed when an idle one would be."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        """As uvicorn's."""
        self._unset_keepalive_if_required()
        self._end_patience()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """As uvicorn's, and what is not complete by then is watched."""
        super().data_received(data)
        if self._is_whole:
            if self._patience:
                self._end_patience()
            return
        self._seen += len(data)
        if not self._has_head and self._seen > MAX_HEAD_BYTES:
            self.send_400_response(f"Its head must have at most {MAX_HEAD_BYTES // 1024} KiB")
        elif not self._patience and not self.transport.is_closing():
            self._begin_patience()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._is_whole = self._has_head = False
        self._seen = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its head is there. Nobody is told to continue: 100 is no code of the reference, and the body is read anyway."""
        self._has_head = True
        self.expect_100_continue = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """All of it is there."""
        self._is_whole = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer a request that is not going to reach the application (``msg`` says why) and hang up."""
        body = render(body_of(MalformedRequest(Detail("request", msg))))
        head = (
            b"content-type: application/json\r\n",
            b"content-length: %d\r\n" % len(body),
            b"x-request-id: %b\r\n" % new_id("request").encode(),
            b"connection: close\r\n\r\n",
        )
        self.transport.write(b"".join([STATUS_LINE[400], *head, body]))
        self.transport.close()

    def _begin_patience(self) -> None:
        self._seen_before = self._seen
        self._patience = self.loop.call_later(PATIENCE_SECONDS, self._lose_patience)

    def _end_patience(self) -> None:
        if self._patience:
            self._patience.cancel()
            self._patience = None

    def _lose_patience(self) -> None:
        self._patience = None
        if self._is_whole or self.transport.is_closing():
            return
        if (
            self.flow.read_paused or self._seen - self._seen_before >= LEAST_BYTES
        ):  # it is we who do not read, or it gets on
            self._begin_patience()
        elif self._has_head and (self.cycle.response_started or self.cycle.response_complete):
            self.transport.close()  # it has its answer, which did not need the rest
        else:
            if self._has_head:  # the application waits for the rest: tell it that none will come
                self.cycle.disconnected = True
                self.cycle.message_event.set()
            self.send_400_response("It did not arrive in time; send it again")
