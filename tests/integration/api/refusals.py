"""Check error answers."""

from tests.harness import Answer

CASH = {"amount": 1_000, "method": {"type": "cash"}}
NUMBER = "4111111111111111"


def is_refused(answer: Answer, status: int, code: str, field: str | None = None) -> bool:
    """Return whether ``answer`` is this error, in the error envelope."""
    assert answer.status == status, answer.raw
    assert set(answer.body) == {"error"}
    assert set(answer.body["error"]) == {"code", "message", "details"}
    assert answer.code == code
    assert answer.headers["X-Request-Id"]
    assert answer.headers["Content-Type"] == "application/json"
    return field is None or field in [detail["field"] for detail in answer.details]
