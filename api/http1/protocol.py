"""Run the requests of an HTTP/1.1 connection one at a time, so that each response belongs to its request.

| situation                                           | reaction                                                       |
|-----------------------------------------------------|----------------------------------------------------------------|
| requests sent before the previous one is answered   | each starts after the response to the previous one, in order   |
| bytes that are not valid HTTP                       | 400 after the responses to earlier requests, then closed       |
| no Host header or two, a coding other than chunked  | the same                                                       |
| headers, or the framing of a body, over 64 KiB      | the same                                                       |
| a request that makes no progress                    | 400 after ``ARRIVAL_TIMEOUT_SECONDS``, then closed             |
| a client that has closed its sending side           | gets the responses to all complete requests, then closed       |
| a connection on which nothing arrives               | closed by the keep-alive timeout                               |
| a client that does not read its responses           | aborted (``api.http1.flow_control``)                           |
| ``Expect: 100-continue``                            | the body is read, and no 100 is sent                           |

A 400 from this module promises that nothing was done for its request. The parser gets one message at a time, cut at its end,
so later bytes are not parsed before the response is sent. The bytes that wait are bounded, because reading is paused. A
request whose body is malformed has changed nothing either: every route that changes anything reads its body to the end first,
and gets a disconnect if the end does not arrive.
"""

import asyncio

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from api.errors import error_body
from api.http1.flow_control import CLIENT_READ_SECONDS, ConnectionFlowControl, SmallEvent
from api.http1.request_headers import check_headers
from api.security_headers import USUAL
from workflows.database.json_rendering import render
from workflows.errors import Detail, MalformedRequest
from workflows.ids import new_id

MAX_HEAD_BYTES = 65_536  # of headers; far more than a terminal, its token and the proxies in between need
ARRIVAL_TIMEOUT_SECONDS = 30.0  # a terminal on a bad network needs a few seconds for a kilobyte
MIN_BYTES_PER_TIMEOUT = 65_536  # the timeout starts again if the client has sent this much, because uploads are large
LINGER_SECONDS = 2.0  # for the client to read its last response; closing with unread bytes would reset the connection
FRAMING_PER_BYTE = 16  # allowed bytes of framing per byte of body; a chunk of one byte needs five

END = b"\r\n\r\n"
"""The end of the headers, and of a chunked body with or without trailers."""

TOO_LONG = f"Request headers, and chunk sizes and trailers around a body, must not exceed {MAX_HEAD_BYTES // 1024} KiB"


class SequentialProtocol(HttpToolsProtocol):
    """uvicorn's protocol, changed to run one request at a time, to answer 400 in our format, and to limit slow clients."""

    flow: ConnectionFlowControl
    _waiting = b""  # bytes that were read; those from ``_at`` on were not given to the parser yet
    _at = 0
    _tail = b""  # the last bytes that the parser got, which may contain the beginning of ``END``
    _is_busy = False  # a complete request has not been answered yet
    _is_complete = True  # no request has arrived in part
    _has_head = False  # the headers of the arriving request are complete
    _is_past_parser = False  # the body of the arriving request is not parsed
    _left = 0  # bytes of a body of known length that have not arrived
    _seen = _seen_before = 0  # bytes of the arriving request: now, and when the timer was started
    _body = _piece_body = 0  # bytes of its body: in all, and in the last piece
    _around = _around_all = 0  # bytes of framing: since the last byte of the body, and in all
    _refusal = ""  # the error in the headers
    _is_finished = _client_has_ended = False  # our last response was sent; the client has closed its sending side
    _arrival_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Call uvicorn's method, and start the keep-alive timeout before the first request."""
        super().connection_made(transport)
        self.pipeline = ()  # type: ignore[assignment]  # never appended to; an empty deque takes 760 bytes
        self.flow = ConnectionFlowControl(transport)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers, then call uvicorn's method."""
        self._is_finished = True
        self._unset_keepalive_if_required()
        self._stop_arrival_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Buffer the bytes that arrived, and parse those of the next request unless one is running."""
        if self._is_finished:
            return
        self._unset_keepalive_if_required()
        self._waiting = self._waiting[self._at :] + data if self._waiting else data
        self._at = 0
        self._advance()

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio uses the result
        """Keep the connection open until all complete requests are answered.

        A stream is closed, because it would keep the connection open for minutes.
        """
        self._client_has_ended = True
        if self._is_finished or (self._is_busy and self.cycle.scope["path"].endswith("/stream")):
            return False
        if self._is_busy:
            return True
        if self._is_complete:
            return False
        self._refuse("The request ended before it was complete")
        return not self.transport.is_closing()

    def on_response_complete(self) -> None:
        """Call uvicorn's method, then parse the next request."""
        self._is_busy = False
        super().on_response_complete()
        if self._is_finished or self.transport.is_closing():
            return
        if self._waiting:
            self._unset_keepalive_if_required()
            self._advance()
        elif self._client_has_ended:
            self._watch()

    def on_message_begin(self) -> None:
        """Reset the state at the first byte of a request."""
        self._is_complete = self._has_head = False
        self._body = self._around = self._around_all = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Check the headers and start the request, without "100 Continue": the body is read in any case."""
        version, is_upgrade = self.parser.get_http_version(), self.parser.should_upgrade()
        self._refusal, self._left = check_headers(self.headers, version, is_upgrade=is_upgrade)
        if self._refusal:
            raise ValueError(self._refusal)  # ends the parser; ``_feed`` answers
        self.expect_100_continue = False
        super().on_headers_complete()
        self.cycle.message_event = SmallEvent()  # the request's task has not run yet
        self._has_head = True
        self.headers = []  # a new list, because trailers are appended to it and must not become headers

    def on_body(self, body: bytes) -> None:
        """Count the bytes of the body, then call uvicorn's method."""
        self._piece_body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Mark the request as complete, unless its body is still to come."""
        self._is_past_parser = self._left > 0 and self.parser.should_upgrade()
        if self._is_past_parser:  # after an upgrade request, the parser treats the body as data of another protocol
            return
        self._is_complete = True
        self._is_busy = not self.cycle.response_complete
        super().on_message_complete()

    def timeout_keep_alive_handler(self) -> None:
        """Call uvicorn's method, and abort the connection if the client does not read its response in time."""
        super().timeout_keep_alive_handler()
        if self.transport.get_write_buffer_size():
            self.loop.call_later(CLIENT_READ_SECONDS, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        """Send the error ``msg`` for a request that does not reach the application; close the connection."""
        body = render(error_body(MalformedRequest(Detail("request", msg))))
        head = (
            b"content-type: application/json\r\n",
            b"content-length: %d\r\n" % len(body),
            b"x-request-id: %b\r\n" % new_id("request").encode(),
            *(b"%b: %b\r\n" % header for header in (*self.server_state.default_headers, *USUAL)),
            b"connection: close\r\n\r\n",
        )
        self.transport.write(b"".join([STATUS_LINE[400], *head, body]))
        self._hang_up()

    def _advance(self) -> None:
        """Give the parser the bytes that arrived, up to the end of a request that has to be answered first."""
        size = len(self._waiting)
        while self._at < size and not self._is_busy and not self._is_finished:
            self._feed(self._next_piece())
        if self._is_finished:
            return
        is_held = size - self._at > HIGH_WATER_LIMIT
        if self._at == size:
            self._waiting, self._at = b"", 0
        if is_held != self.flow.is_held:
            self.flow.is_held = is_held
            if is_held:
                self.flow.pause_reading()
            else:
                self.flow.resume_reading()
        self._watch()

    def _watch(self) -> None:
        """Update the timers after parsing, and handle a client that closed its sending side."""
        if self._is_complete:
            if self._arrival_timer:
                self._stop_arrival_timer()
            if self._is_busy:
                return
            if self._client_has_ended:
                self.transport.close()
            elif self.timeout_keep_alive_task is None:  # only blank lines arrived
                handler = self.timeout_keep_alive_handler
                self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, handler)
        elif self._client_has_ended:
            self._refuse("The request ended before it was complete")
        elif not self._arrival_timer and not self.transport.is_closing():
            self._start_arrival_timer()

    def _next_piece(self) -> bytes:
        """Return the bytes to parse next: to the end of a body of known length, else to the next ``END``."""
        waiting, at = self._waiting, self._at
        if self._left:
            end = at + min(self._left, len(waiting) - at)
            is_end = False
        else:
            across = (self._tail + waiting[at : at + 3]).find(END) if self._tail else -1
            found = across + at - len(self._tail) if across >= 0 else waiting.find(END, at)
            is_end = found >= 0
            end = found + len(END) if is_end else len(waiting)
        if end - at > MAX_HEAD_BYTES:
            end, is_end = at + MAX_HEAD_BYTES, False
        piece = waiting[at:end]
        self._at = end
        self._tail = b"" if is_end or self._left else (self._tail + piece[-3:])[-3:]
        return piece

    def _feed(self, piece: bytes) -> None:
        self._seen += len(piece)
        if not self._has_head and self._seen > MAX_HEAD_BYTES:
            self._refuse(TOO_LONG)
            return
        had_head, is_body, self._piece_body = self._has_head, self._left > 0, 0
        if is_body:
            self._left -= len(piece)
        self._parse(piece)
        if had_head and not is_body and self._has_too_much_framing(len(piece) - self._piece_body):
            self._refuse(TOO_LONG)
        if self._is_complete:
            self._has_head, self._seen, self._tail = False, 0, b""

    def _parse(self, piece: bytes) -> None:
        if self._is_past_parser:
            self.on_body(piece)
            if not self._left:
                self.on_message_complete()
            return
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            pass  # the request is answered as if it had not asked for an upgrade
        except httptools.HttpParserError:
            self._refuse(self._refusal or "The request is not valid HTTP/1.1")

    def _has_too_much_framing(self, around: int) -> bool:
        """Count the framing bytes (chunk sizes, trailers …) of the last piece; check the limits."""
        self._body += self._piece_body
        self._around = around if self._piece_body else self._around + around
        self._around_all += around
        return self._around > MAX_HEAD_BYTES or self._around_all > MAX_HEAD_BYTES + FRAMING_PER_BYTE * self._body

    def _refuse(self, issue: str) -> None:
        """Answer an unreadable request with 400, unless it was answered already, and close the connection."""
        if self._is_finished:
            return
        if self._has_head and self.cycle.response_complete:  # answered already, before all of its body arrived
            self._hang_up()
            return
        if self._has_head and self.cycle.response_started:
            self._is_finished = True
            self.transport.close()
            return
        if self._has_head:  # the application may await the rest of the body: let it receive a disconnect
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.send_400_response(issue)

    def _hang_up(self) -> None:
        """Close the sending side, and discard further bytes until the client closes the connection too."""
        self._is_finished = True
        self._stop_arrival_timer()
        self._unset_keepalive_if_required()
        self._waiting, self._at, self.flow.is_held = b"", 0, False
        self.flow.resume_reading()
        if self._client_has_ended or not self.transport.can_write_eof():
            self.transport.close()
            return
        self.transport.write_eof()
        self.timeout_keep_alive_task = self.loop.call_later(LINGER_SECONDS, self.timeout_keep_alive_handler)

    def _start_arrival_timer(self) -> None:
        self._seen_before = self._seen
        self._arrival_timer = self.loop.call_later(ARRIVAL_TIMEOUT_SECONDS, self._check_arrival)

    def _stop_arrival_timer(self) -> None:
        if self._arrival_timer:
            self._arrival_timer.cancel()
            self._arrival_timer = None

    def _check_arrival(self) -> None:
        self._arrival_timer = None
        if self._is_complete or self._is_finished or self.transport.is_closing():
            return
        makes_progress = self._seen - self._seen_before >= MIN_BYTES_PER_TIMEOUT
        if self.flow.read_paused or makes_progress:  # while reading is paused, the client cannot make progress
            self._start_arrival_timer()
        else:
            self._refuse("The request did not arrive in time; send it again")
