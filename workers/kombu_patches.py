"""Patch kombu: unreadable messages are delivered, to be stored as dead letters, and nudges are not stored at the broker.

kombu expects JSON with certain keys. Anything else raises in the worker's main loop: the process exits, and the message is
lost.
"""

import base64
from typing import Any

from kombu.transport import redis as kombu_redis
from uuid_utils import uuid7

from workers.unstored_messages import NudgeQoS

BYTES = "application/octet-stream"

redis: Any = kombu_redis  # kombu has no type information
_loads, _deliver = redis.loads, redis.Transport._deliver


def patch_kombu() -> None:
    """Make kombu deliver an unreadable message as a valid one, and store no nudges.

    The valid message has no headers, and its body is the text that was received.
    """
    redis.loads = _loads_or_text
    redis.Transport._deliver = _deliver_repaired
    redis.Channel.QoS = NudgeQoS


def repaired_message(message: Any, queue: str) -> Any:
    """Return ``message`` if it has the keys that kombu needs, else a valid message.

    The body of the valid message is the text of ``message``.
    """
    match message:
        case {
            "headers": dict() | None,
            "properties": {"delivery_tag": str(), "delivery_info": {"exchange": str(), "routing_key": str()}},
        } if isinstance(message.get("body", ""), str):
            return message
    text = message if isinstance(message, str) else redis.dumps(_with_body_as_text(message))
    return {
        "body": base64.b64encode(text.encode(errors="replace")).decode(),
        "content-type": BYTES,
        "content-encoding": "binary",
        "headers": {},
        "properties": {
            "delivery_tag": str(uuid7()),
            "delivery_info": {"exchange": queue, "routing_key": queue},
            "body_encoding": "base64",
            "priority": 0,
        },
    }


def _with_body_as_text(message: Any) -> Any:
    """Return the message with its body as text, because a search for card data finds nothing in base64."""
    try:
        body = base64.b64decode(message["body"], validate=True).decode(errors="replace")
    except (KeyError, TypeError, ValueError):
        return message
    return {**message, "body": body}


def _loads_or_text(text: str) -> Any:
    try:
        return _loads(text)
    except (ValueError, RecursionError):
        return text


def _deliver_repaired(transport: Any, message: Any, queue: str) -> None:
    _deliver(transport, repaired_message(message, queue), queue)
