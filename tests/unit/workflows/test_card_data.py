"""Card data: what could be a card number, a track or a secret is found; what merely has many digits is not."""

from typing import Any

import pytest
import uuid_utils
from hypothesis import given
from hypothesis import strategies as st

from workflows.card_data import find_card_data, looks_like_card_data, mask
from workflows.ids import PREFIXES, new_id

# Published test numbers of the networks; no such accounts exist.
NUMBERS = (
    "4111111111111111",
    "4012888888881881",
    "4222222222222",
    "5555555555554444",
    "2223003122003222",
    "378282246310005",
    "6011111111111117",
    "3530111333300000",
    "30569309025904",
    "6212345678900000003",
)
HARMLESS = (
    "",
    "1000",
    "4111111111111112",  # fails the Luhn test
    "1764406800000",  # epoch milliseconds: begins with 1
    "1764406800000123",  # epoch microseconds
    "0123456789012345",
    "9999999999999995",
    "+81-90-1234-5678",
    "2026-11-23T09:00:00Z",
    "till 3, receipt 0042",
    "41111111111111111111111111",  # too long to be a card
)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("shape", ["{0}", "paid with {0}.", "{0}x", "x{0}", '{{"n":"{0}"}}'])
def test_a_card_number_is_found_wherever_it_stands(number: str, shape: str) -> None:
    assert looks_like_card_data(shape.format(number))


@pytest.mark.parametrize("separator", [" ", "-"])
def test_a_card_number_in_groups_is_found(separator: str) -> None:
    assert looks_like_card_data(separator.join(["4111"] * 1 + ["1111"] * 3))
    assert looks_like_card_data(separator.join(["3782", "822463", "10005"]))


@pytest.mark.parametrize("number", [*NUMBERS, "4111 1111 1111 1111", "3782-822463-10005", "6212 3456 7890 0000 003"])
@pytest.mark.parametrize(
    "shape", ["{0} 12/27", "{0} 1227 123", "till 3 {0}", "0042-{0}", "{0}-1", "{0} {0}", "12 {0} 27"]
)
def test_a_card_number_is_found_beside_other_digits(number: str, shape: str) -> None:
    assert looks_like_card_data(shape.format(number))


def test_a_card_number_in_the_digits_of_another_script_is_found() -> None:
    wide = str.maketrans("0123456789-", "\uff10\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18\uff19\uff0d")
    assert looks_like_card_data("4111-1111-1111-1111".translate(wide))
    assert looks_like_card_data("4111111111111111".translate(wide))
    assert not looks_like_card_data("4111111111111112".translate(wide))


def test_a_card_number_written_as_a_fraction_is_found() -> None:
    for number in (4111111111111111.0, 4.111111111111111e15, 4111111111111111.5):
        assert list(find_card_data({"n": number})) == ["n"]
    for number in (0.1, 1e300, float("nan"), float("inf"), 4111111111111112.0):
        assert list(find_card_data({"n": number})) == []


@pytest.mark.parametrize("text", HARMLESS)
def test_what_merely_has_many_digits_is_left_alone(text: str) -> None:
    assert not looks_like_card_data(text)


@pytest.mark.parametrize("track", ["%B4111111111111111^DOE/JOHN^2512101", ";4111111111111112=2512101123?"])
def test_track_data_is_found_even_if_its_number_fails_the_luhn_test(track: str) -> None:
    assert looks_like_card_data(track)


@pytest.mark.parametrize("entity", PREFIXES)
def test_our_own_ids_are_never_taken_for_cards(entity: str) -> None:
    for _ in range(300):
        made = new_id(entity)
        assert not looks_like_card_data(made)
        assert not looks_like_card_data(f"{made}:1")


def test_uuids_are_never_taken_for_cards() -> None:
    for _ in range(1_000):
        made = uuid_utils.uuid4()
        assert not looks_like_card_data(str(made))
        assert not looks_like_card_data(made.hex)


# Hexadecimal with a row of digits that begins as a network's numbers do and passes the Luhn test.
UNLUCKY = (
    "019ab4111111111111111cdef0123456",
    "019ab411-1111-1111-1111-05cdef012345",
    "a" * 24 + "4111111111111111" + "b" * 24,
)


@pytest.mark.parametrize("token", UNLUCKY)
@pytest.mark.parametrize("shape", ["{0}", "SN-{0}", "pay_{0}:1", "till 3, {0}."])
def test_an_unlucky_uuid_or_hash_is_left_alone_wherever_it_stands(token: str, shape: str) -> None:
    assert not looks_like_card_data(shape.format(token))
    assert not looks_like_card_data(shape.format(token.upper()))


@pytest.mark.parametrize("token", UNLUCKY)
def test_a_card_number_beside_a_uuid_or_hash_is_found(token: str) -> None:
    assert looks_like_card_data(f"{token} 4111111111111111")
    assert looks_like_card_data(f"4111111111111111/{token}")


@given(st.integers(min_value=10**12, max_value=10**19 - 1).filter(lambda number: str(number)[0] in "01789"))
def test_no_number_that_begins_as_no_network_does_is_taken_for_a_card(number: int) -> None:
    assert not looks_like_card_data(str(number))


@given(st.text(alphabet="0123456789", min_size=11, max_size=17), st.sampled_from("23456"))
def test_exactly_one_check_digit_in_ten_makes_a_card(body: str, first: str) -> None:
    assert sum(looks_like_card_data(f"{first}{body}{check}") for check in "0123456789") == 1


@pytest.mark.parametrize(
    "name", ["cvv", "CVV2", "cvc", "card_cvv", "cardcvc2", "cid", "pin", "PIN_BLOCK", "track2", "track_data", "pan"]
)
def test_a_field_named_for_a_secret_is_refused_whatever_it_holds(name: str) -> None:
    assert list(find_card_data({"metadata": {name: "x"}})) == [f"metadata.{name}"]


@pytest.mark.parametrize("name", ["pinned", "company", "opinion", "discount", "card_brand", "card_last_4", "span"])
def test_a_field_that_merely_contains_such_a_word_is_not(name: str) -> None:
    assert list(find_card_data({"metadata": {name: "x"}})) == []


@pytest.mark.parametrize(
    ("value", "paths"),
    [
        ({"a": {"b": ["x", "4111111111111111"]}}, ["a.b.1"]),
        ({"n": 4111111111111111}, ["n"]),
        ([{"pan": 1}, {"ok": "yes"}], ["0.pan"]),
        ({"4111111111111111": "as a name"}, ["…"]),
        ({"ok": True, "n": 1, "f": 1.5, "none": None}, []),
    ],
)
def test_each_place_is_told_without_the_number(value: Any, paths: list[str]) -> None:
    assert list(find_card_data(value)) == paths


def test_a_masked_text_holds_no_number() -> None:
    assert mask("4111111111111111") == "…"
    assert mask("harmless") == "harmless"
