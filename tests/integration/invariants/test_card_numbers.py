"""Invariant I13 and the check of incoming data find the same card numbers, although they share no code."""

import random
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from mpac.stack.local_stack import LocalStack
from workflows.card_data import looks_like_card_data
from workflows.invariants.rules.card_numbers import violations_among

NUMBERS = ("4242424242424242", "378282246310005", "30569309025904", "5555555555554444", "6011111111111117",
           "3530111333300000", "6759649826438453", "2200000000000004", "4222222222222", "6212345678900000003")  # fmt: skip
MARKS = (
    "",
    "",
    "",
    " ",
    "-",
    ".",
    "/",
    "_",
    ", ",
    " - ",
    "\u00a0",
    "\u3000",
    "\u2010",
    "\u30fc",
    "\uff0d",
    "\u200b",
    '"',
    "x",
    "x",
    ":",
)
ZEROS = ("0", "0", "0", "\uff10", "\u0660", "\u06f0", "\u0966", "\U0001d7ce", "\u0e50")
AROUND = (
    "",
    "",
    "",
    "x",
    "0",
    "7",
    " 12/27",
    "till 3 ",
    "カード",
    "000",
    "019ab4",
    "5f0a",
    "a01b2cd",
    "-",
    "\n",
    "pay_",
)


@pytest.fixture
async def connection(stack: LocalStack) -> AsyncIterator[AsyncConnection]:
    engine = create_async_engine(make_url(stack.urls.database).set(drivername="postgresql+psycopg"))
    async with engine.connect() as connection:
        yield connection
    await engine.dispose()


def drawn(source: random.Random) -> str:
    """Return a random text with many digits, which may be a card number.

    The digits are grouped, in any script, with any neighbours.
    """
    digits = source.choice(NUMBERS) if source.random() < 0.6 else str(source.randrange(10**12, 10**20))
    if source.random() < 0.15:
        digits = digits[:-1] + source.choice("0123456789")
    zero, mark, size = source.choice(ZEROS), source.choice(MARKS), source.choice((1, 2, 3, 4, 4, 4, 5, 6, 8, 20))
    written = digits.translate({ord("0") + value: chr(ord(zero) + value) for value in range(10)})
    groups = [written[start : start + size] for start in range(0, len(written), size)]
    mixed = "".join(group + source.choice((mark, mark, " ", "-")) for group in groups)
    if mark == "\u200b":  # within an id: the rule removes these characters before it looks for ids
        return source.choice((mark.join(groups), f"x{mixed}"))
    return source.choice(AROUND) + source.choice((mark.join(groups), mixed)) + source.choice(AROUND)


_ALL_TEXTS = """
    SELECT n::text AS id, 'r' AS relation, 'c' AS name, v AS value
    FROM unnest(CAST(:texts AS text[])) WITH ORDINALITY AS t(v, n)
"""


async def test_the_rule_and_the_detector_find_the_same_card_numbers(connection: AsyncConnection) -> None:
    source = random.Random(11)
    texts = sorted({drawn(source) for _ in range(6_000)})
    found = await connection.execute(text(violations_among(_ALL_TEXTS)), {"texts": texts})
    rule = {texts[int(row.id) - 1] for row in found}
    detector = {one for one in texts if looks_like_card_data(one)}
    assert rule ^ detector == set()
    assert 1_000 < len(detector) < len(texts) - 1_000
