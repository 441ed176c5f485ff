"""The HTTP reader returns the same answer however its bytes are split, and notices any bytes that follow."""

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.providers.http_reader import NoAnswer, Reader

BODY = b'{"status": "succeeded"}'
LENGTH = f"Content-Length: {len(BODY)}\r\n".encode()
PLAIN = b"HTTP/1.1 200 OK\r\nX-Request-Id: 7\r\n" + LENGTH + b"\r\n" + BODY
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Request-Id: 7\r\n\r\n"
    + b"%x\r\n" % len(BODY)
    + BODY
    + b"\r\n0\r\n\r\n"
)
ANSWERS = {
    "plain": PLAIN,
    "chunked": CHUNKED,
    "after interim answers": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nX-Request-Id: 8\r\n\r\n" + PLAIN,
}
BEHIND = [PLAIN, b"H", b"HTTP/1.1 500 No\r\n\r\n", b"{}", b"\x00", b"<html>"]


def read(pieces: Iterable[bytes]) -> Reader:
    """Feed the bytes to a new reader for as long as it accepts more, and return the reader."""
    reader = Reader(1_000)
    for piece in pieces:
        if reader.is_complete:
            reader.is_followed = True  # then the connection closes, because no request is open any more
            break
        reader.feed(piece)
    return reader


def pieces_of(whole: bytes, cuts: Iterable[int]) -> list[bytes]:
    """Split ``whole`` at the positions ``cuts``."""
    places = sorted({0, len(whole), *(cut % len(whole) for cut in cuts)})
    return [whole[start:end] for start, end in itertools.pairwise(places)]


@pytest.mark.parametrize("kind", ANSWERS)
@given(cuts=st.lists(st.integers(0, 10_000), max_size=12))
def test_an_answer_is_the_same_however_its_bytes_are_split(kind: str, cuts: list[int]) -> None:
    reader = read(pieces_of(ANSWERS[kind], cuts))
    answer = reader.answer()
    assert (reader.is_complete, reader.is_followed) == (True, False)
    assert (answer.status, answer.body, answer.headers["x-request-id"]) == (200, BODY, "7")


@pytest.mark.parametrize("kind", ANSWERS)
@given(behind=st.sampled_from(BEHIND), cuts=st.lists(st.integers(0, 10_000), max_size=12))
def test_bytes_after_an_answer_are_noticed_however_they_are_split(kind: str, behind: bytes, cuts: list[int]) -> None:
    reader = read(pieces_of(ANSWERS[kind] + behind, cuts))
    assert (reader.is_complete, reader.is_followed, reader.answer().body) == (True, True, BODY)


@pytest.mark.parametrize("kind", ANSWERS)
@given(end=st.integers(0, 10_000))
def test_a_truncated_answer_is_refused(kind: str, end: int) -> None:
    reader = read([ANSWERS[kind][: end % len(ANSWERS[kind])]])
    assert not reader.is_complete
    assert not reader.finish()


@given(raw=st.binary(max_size=400))
def test_random_bytes_raise_no_error_other_than_no_answer(raw: bytes) -> None:
    reader = Reader(100)
    try:
        reader.feed(raw)
    except NoAnswer:
        return
    assert isinstance(reader.finish(), bool)
