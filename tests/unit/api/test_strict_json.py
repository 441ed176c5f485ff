"""A body that orjson decodes alone is decoded as the strict decoder would."""

import json
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from api import strict_json
from api.strict_json import decode_strictly, read_json
from workflows.errors import MalformedRequest

NUMBERS = ("0", "-0", "1", "-7", "1.0", "1.5e3", "1E400", "01", "NaN", "Infinity", "-Infinity", "1_000", "2.50")
LARGE = (str(2**63), str(2**64 - 1), str(2**64), str(-(2**63)), str(-(2**63) - 1), "9" * 40)
STRINGS = ('"a"', '"b"', '"a:b"', r'"\u0061"', r'"\ud800"', r'"\ud83d\ude00"', '"é"', '"\t"', '"\\u003a"', '""', "'a'")
SPACE = st.sampled_from(("", " ", "\n", "\t\r", "\u00a0", "\ufeff", "\x0c"))
SCALARS = st.sampled_from((*NUMBERS, *LARGE, *STRINGS, "true", "null", "None", ""))


def objects(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    member = st.tuples(st.sampled_from(STRINGS), SPACE, values).map(lambda parts: f"{parts[0]}{parts[1]}:{parts[2]}")
    return st.tuples(st.lists(member, max_size=4).map(",".join), SPACE).map(lambda parts: f"{{{parts[0]}{parts[1]}}}")


def arrays(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(values, max_size=4).map(lambda inner: f"[{','.join(inner)}]")


TEXTS = st.recursive(SCALARS, lambda values: objects(values) | arrays(values), max_leaves=12)
ENCODINGS = st.sampled_from(("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"))


def result(decode: Any, raw: bytes, *, exact: bool) -> tuple[str, object]:
    """Return the type and value of a decoded text, or the details of its error."""
    try:
        value = decode(raw, field="body", exact=exact)
    except MalformedRequest as error:
        return "error", [(detail.field, detail.issue) for detail in error.details]
    return repr(value), None  # repr tells 1 from 1.0 and True


@given(text=TEXTS, encoding=ENCODINGS, exact=st.booleans())
@example(text='{"a":1,"a":2}', encoding="utf-8", exact=False)
@example(text='{"a":{"a":1,"b":2,"a":3}}', encoding="utf-8", exact=False)
@example(text='[{"a":1},{"a":1.50}]', encoding="utf-8", exact=True)
@example(text=str(2**64), encoding="utf-8", exact=False)
def test_both_decoders_agree(text: str, encoding: str, exact: bool) -> None:
    raw = text.encode(encoding, "surrogatepass")
    assert result(read_json, raw, exact=exact) == result(decode_strictly, raw, exact=exact)


@given(raw=st.binary(max_size=12) | st.lists(st.sampled_from(b'{}[]:,"ab10.-e \\\x00\xff'), max_size=12).map(bytes))
def test_both_decoders_agree_about_any_bytes(raw: bytes) -> None:
    assert result(read_json, raw, exact=False) == result(decode_strictly, raw, exact=False)


@pytest.mark.parametrize("depth", [1, 15, 16, 17, 900, 1_100, 100_000])
@pytest.mark.parametrize("name", ["", '"a":'], ids=["arrays", "objects"])
def test_both_decoders_agree_about_nesting(depth: int, name: str) -> None:
    opening, closing = ("{", "}") if name else ("[", "]")
    raw = ((opening + name) * depth + "1" + closing * depth).encode()
    assert result(read_json, raw, exact=False) == result(decode_strictly, raw, exact=False)


def test_a_usual_body_is_decoded_by_orjson_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict_json, "decode_strictly", None)
    body = {"amount": 1_000, "method": {"type": "qr", "mode": "cpm"}, "metadata": {"items": [{"n": 1}, None, True]}}
    assert read_json(json.dumps(body).encode()) == body
