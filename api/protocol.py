"""HTTP that cannot even be parsed: it never reaches the application, but its answer keeps to the contract all the same."""

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from api.errors import body_of
from workflows.errors import Detail, MalformedRequest
from workflows.ids import new_id
from workflows.rendering import render


class EnvelopeProtocol(HttpToolsProtocol):
    """uvicorn's HTTP, whose refusals carry the error envelope instead of a line of text."""

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are no HTTP request (``msg`` is uvicorn's own word for it) and hang up."""
        body = render(body_of(MalformedRequest(Detail("request", msg))))
        head = (
            b"content-type: application/json\r\n",
            b"content-length: %d\r\n" % len(body),
            b"x-request-id: %b\r\n" % new_id("request").encode(),
            b"connection: close\r\n\r\n",
        )
        self.transport.write(b"".join([STATUS_LINE[400], *head, body]))
        self.transport.close()
