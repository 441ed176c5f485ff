"""Read one HTTP answer within limits, whatever the peer sends.

Interim (1xx) answers are skipped. Compressed answers are refused, because they are not requested and may unpack to any size.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httptools

LARGEST_BODY = 1024 * 1024
LARGEST_HEAD = 32 * 1024  # bytes of all headers of an answer, including trailers and interim (1xx) answers
MAX_HEADERS = 100
MAX_INTERIM = 8
OVERHEAD = 64 * 1024  # bytes that an answer may have beside its body: headers and chunk sizes

INTERIM = range(100, 200)


class NotConnected(Exception):
    """No connection was made, so the request was certainly not sent."""


class NoAnswer(Exception):
    """The request may have been sent, and no acceptable answer came back."""


@dataclass(slots=True)
class HttpAnswer:
    """One complete answer. Call ``keep_alive()`` to accept it, so that its connection may carry another request."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_kept_alive: bool = False

    def keep_alive(self) -> None:
        """Allow the connection to be used again."""
        self.is_kept_alive = True


class Reader:
    """A parser for one answer, which enforces the limits. ``httptools`` calls the ``on_…`` methods."""

    def __init__(self, largest_body: int) -> None:
        self._parser: Any = httptools.HttpResponseParser(self)
        self._largest_body = largest_body
        self._received = self._head_bytes = self._body_bytes = self._interim = self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._in_body = False
        self.is_complete = False
        self.is_followed = False
        """Whether bytes followed the answer, or the answer says that the connection will be closed."""

    def feed(self, data: bytes) -> None:
        """Parse the next bytes. Raises ``NoAnswer`` if they are not part of a valid answer within the limits."""
        self._received += len(data)
        if self._received > self._largest_body + OVERHEAD:
            raise NoAnswer("the answer is too large")
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if not self.is_complete:
                cause = error.__context__
                raise NoAnswer(str(cause) if isinstance(cause, NoAnswer) else "the answer is not HTTP") from None
            self.is_followed = True
        if not self._in_body and self._received > LARGEST_HEAD:
            raise NoAnswer("the headers of the answer are too large")

    def finish(self) -> bool:
        """Return whether the answer is complete, now that the connection has ended.

        That completes an answer whose headers do not say where its body ends.
        """
        names = {name.lower() for name, _ in self._headers}
        is_open_ended = self._in_body and not names & {b"content-length", b"transfer-encoding"}
        self.is_complete = self.is_complete or is_open_ended
        return self.is_complete

    def answer(self) -> HttpAnswer:
        """Return the complete answer."""
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self._headers}
        return HttpAnswer(self._status, headers, b"".join(self._body))

    def release(self) -> None:
        """Break the reference cycle of this reader and its parser, so that no garbage collection is needed."""
        self._parser = None

    def on_message_begin(self) -> None:
        if self.is_complete:
            raise NoAnswer("more than one answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > LARGEST_HEAD or len(self._headers) >= MAX_HEADERS:
            raise NoAnswer("the headers of the answer are too large")
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()
        if self._status in INTERIM:
            self._interim += 1
            if self._interim > MAX_INTERIM:
                raise NoAnswer("too many interim answers")
            return
        self._in_body = True
        for name, value in self._headers:
            self._check(name.lower(), value.strip())

    def _check(self, name: bytes, value: bytes) -> None:
        if name == b"content-length" and int(value) > self._largest_body:
            raise NoAnswer("the answer is too large")
        if name == b"content-encoding" and value.lower() not in (b"", b"identity"):
            raise NoAnswer("the answer is compressed")

    def on_body(self, data: bytes) -> None:
        self._body_bytes += len(data)
        if self._body_bytes > self._largest_body:
            raise NoAnswer("the answer is too large")
        self._body.append(data)

    def on_message_complete(self) -> None:
        if self._status in INTERIM:
            self._headers.clear()
            return
        self.is_complete = True
        self.is_followed = not self._parser.should_keep_alive()
