"""Build messages from which no task can be made, as the broker stores them in a queue."""

import base64
import json
from typing import Any

from uuid_utils import uuid7

CARD = "4111111111111111"
CALL: Any = [[["pay_unknown"]], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
JSON = "application/json"
SENDABLE = {"task": "payments.process", "id": "sendable", "lang": "py"}
INVENTED = {**SENDABLE, "task": "sweeps.invented"}


def envelope(body: bytes, headers: Any, content_type: str = JSON) -> bytes:
    """Return a message as the broker stores it in a queue."""
    delivery = {"exchange": "payments", "routing_key": "payments"}
    properties = {"delivery_info": delivery, "priority": 0, "body_encoding": "base64", "delivery_tag": str(uuid7())}
    encoded = base64.b64encode(body).decode()
    parts = {"body": encoded, "content-encoding": "utf-8", "content-type": content_type, "headers": headers}
    return json.dumps({**parts, "properties": properties}).encode()


UNREADABLE: dict[str, tuple[bytes, Any, str]] = {
    "an unknown task": (json.dumps(CALL).encode(), {**SENDABLE, "task": "payments.invented"}, JSON),
    "a zero character": (rb'[["a\u0000b"], {}, {}]', INVENTED, JSON),
    "half a character": (rb'[["\ud800"], {}, {}]', INVENTED, JSON),
    "a number of thirty digits": (b"[[" + b"9" * 30 + b"], {}, {}]", INVENTED, JSON),
    "six hundred lists in one another": (b"[[" + b"[" * 600 + b"]" * 600 + b"], {}, {}]", INVENTED, JSON),
    "a card number for a name": (json.dumps([[], {CARD: 1}, {}]).encode(), SENDABLE, JSON),
    "no body": (b"", SENDABLE, JSON),
    "a body cut short": (b'[[["pay_', SENDABLE, JSON),
    "a body that is not UTF-8": (b"\xff\xfe\x00", SENDABLE, JSON),
    "a body of null": (b"null", SENDABLE, JSON),
    "two of three parts": (b"[[], {}]", SENDABLE, JSON),
    "arguments that are no list": (b'["x", {}, {}]', SENDABLE, JSON),
    "keyword arguments that are no object": (b"[[], 1, {}]", SENDABLE, JSON),
    "a card number": (json.dumps([[CARD], {}]).encode(), SENDABLE, JSON),
    "another content type": (json.dumps(CALL).encode(), SENDABLE, "application/x-python-serialize"),
    "protocol 1": (b'{"task": "payments.process", "id": "p1", "args": [["pay_1"]], "kwargs": {}}', {}, JSON),
    "headers that are no object": (json.dumps(CALL).encode(), ["task"], JSON),
    "no id": (json.dumps(CALL).encode(), {"task": "payments.process"}, JSON),
    "a task that is no text": (json.dumps(CALL).encode(), {**SENDABLE, "task": {"x": 1}}, JSON),
    "a time to start that is none": (json.dumps(CALL).encode(), {**SENDABLE, "eta": "soon"}, JSON),
    "a time limit that is none": (json.dumps(CALL).encode(), {**SENDABLE, "timelimit": 5}, JSON),
    "an unknown compression": (json.dumps(CALL).encode(), {**SENDABLE, "compression": "x"}, JSON),
}


BROKEN_ENVELOPES = (
    b"not JSON",
    b"5",
    b"\xff\x00",
    b'{"body": "x"}',
    b'{"headers": {}, "properties": null}',
    b'{"headers": {}, "properties": {"delivery_tag": "t-1"}}',
    b'{"headers": {}, "properties": {"delivery_tag": "t-2", "delivery_info": {}}}',
)
