"""The detector finds everything that could be card data, and ignores values that merely have many digits."""

import random
import sys
import unicodedata
from typing import Any

import pytest
import uuid_utils

from workflows.card_data import BRANDS, could_be_card_number, find_card_data, looks_like_card_data, mask, mask_digits
from workflows.ids import PREFIXES, new_id

# Published test numbers of the card networks; no such accounts exist.
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
    "4111111111111112",  # fails the Luhn check
    "1764406800000",  # epoch milliseconds, which begin with 1
    "1764406800000123",  # epoch microseconds
    "0123456789012345",
    "9999999999999995",
    "+81-90-1234-5678",
    "2026-11-23T09:00:00Z",
    "till 3, receipt 0042",
    "41111111111111111111111111",  # too long for a card number
)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("shape", ["{0}", "paid with {0}.", "{0}x", "x{0}", '{{"n":"{0}"}}'])
def test_a_card_number_is_found_in_any_field(number: str, shape: str) -> None:
    assert looks_like_card_data(shape.format(number))


@pytest.mark.parametrize("separator", [" ", "-"])
def test_a_card_number_in_groups_is_found(separator: str) -> None:
    assert looks_like_card_data(separator.join(["4111"] * 1 + ["1111"] * 3))
    assert looks_like_card_data(separator.join(["3782", "822463", "10005"]))
    assert looks_like_card_data(f"4111{separator}1111-11111111")


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
        assert find_card_data({"n": number}) == ["n"]
    for number in (0.1, 1e300, float("nan"), float("inf"), 4111111111111112.0):
        assert find_card_data({"n": number}) == []


@pytest.mark.parametrize("text", HARMLESS)
def test_values_that_merely_have_many_digits_are_ignored(text: str) -> None:
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


# A run of digits in this hexadecimal begins like a network's numbers and passes the Luhn check.
UNLUCKY = (
    "019ab4111111111111111cdef0123456",
    "019ab411-1111-1111-1111-05cdef012345",
    "a" * 24 + "4111111111111111" + "b" * 24,
    "5f4111111111111111a01b2c",
)


@pytest.mark.parametrize("token", UNLUCKY)
@pytest.mark.parametrize("shape", ["{0}", "SN-{0}", "pay_{0}:1", "till 3, {0}."])
def test_a_uuid_or_hash_that_contains_a_valid_card_number_is_ignored(token: str, shape: str) -> None:
    assert not looks_like_card_data(shape.format(token))
    assert not looks_like_card_data(shape.format(token.upper()))


@pytest.mark.parametrize("token", UNLUCKY)
def test_a_card_number_beside_a_uuid_or_hash_is_found(token: str) -> None:
    assert looks_like_card_data(f"{token} 4111111111111111")
    assert looks_like_card_data(f"4111111111111111/{token}")


def with_check_digit(body: str) -> str:
    """Return ``body`` with the check digit that makes it pass the Luhn check."""
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in body[::-2])
    return body + str(-(doubled + sum(map(int, body[-2::-2]))) % 10)


BEGINNINGS = (
    *((beginning, 15) for beginning in ("34", "37")),
    *((beginning, 14) for beginning in ("300", "305", "3095", "36", "38", "39")),
    *((beginning, 16) for beginning in ("6011", "644", "649", "65", "3528", "3589", "51", "55", "2221", "2720", "2204")),
    *((beginning, 16) for beginning in ("4", "50", "56", "58", "60", "62", "63", "67", "81", "82")),
    *((beginning, 19) for beginning in ("4", "50", "56", "62", "63", "67", "3530", "2200")),
    ("6759", 13), ("4", 13), ("6759", 17), ("62", 17),
)  # fmt: skip


@pytest.mark.parametrize(("beginning", "length"), BEGINNINGS)
def test_a_card_number_of_each_brand_is_found(beginning: str, length: int) -> None:
    number = with_check_digit(beginning.ljust(length - 1, "7"))
    assert looks_like_card_data(number)
    wrong = number[:-1] + str((int(number[-1]) + 1) % 10)
    assert not looks_like_card_data(wrong)


@pytest.mark.parametrize(
    ("beginning", "length"),
    [
        ("1", 16), ("20", 16), ("2219", 16), ("2721", 16), ("3527", 16), ("3590", 16), ("0", 16), ("7", 16),
        ("99", 16), ("23", 17), ("55", 17), ("4", 17), ("4", 14), ("37", 16), ("51", 13), ("62", 15),
        ("36", 13), ("45", 18),
    ],
)  # fmt: skip
def test_a_number_that_no_brand_issues_is_ignored(beginning: str, length: int) -> None:
    assert not looks_like_card_data(with_check_digit(beginning.ljust(length - 1, "7")))


@pytest.mark.parametrize(
    "text", ["23456789012340005", "4901234567894", "4512345678906", "4006381333931", "9784873119328"]
)
def test_a_shop_number_or_a_bar_code_is_ignored(text: str) -> None:
    assert not looks_like_card_data(text)
    assert find_card_data({"n": int(text)}) == []


@pytest.mark.parametrize(("length", "percent"), [(13, 1.5), (14, 1), (15, 1), (16, 5), (17, 1.5), (18, 2), (19, 3.5)])
def test_few_random_numbers_are_taken_for_cards(length: int, percent: float) -> None:
    drawn = random.Random(7)
    found = sum(looks_like_card_data(str(drawn.randrange(10 ** (length - 1), 10**length))) for _ in range(20_000))
    assert found / 200 < percent


def test_digits_of_every_script_are_read() -> None:
    zeros = [chr(code) for code in range(sys.maxunicode) if unicodedata.decimal(chr(code), -1) == 0]
    assert len(zeros) > 60
    for zero in zeros:
        number = "".join(chr(ord(zero) + int(digit)) for digit in "4242424242424242")
        assert looks_like_card_data(number), unicodedata.name(zero)
        assert looks_like_card_data(f"till {number[:4]} {number[4:8]} {number[8:12]} {number[12:]}")


@pytest.mark.parametrize(
    "digits", ["\u2080\u2081\u2082\u2083\u2084", "\u24ea\u2460\u2461\u2462\u2463", "\u3007\u4e00\u4e8c\u4e09\u56db"]
)
def test_digits_that_are_not_decimals_are_read(digits: str) -> None:
    assert looks_like_card_data("".join(digits[int(one)] for one in "4242424242424242"))


SEPARATORS = (
    *" \u00a0\u2009\u202f\u3000\t\n", *"-\u00ad\u2010\u2011\u2012\u2013\u2014\u2212\uff0d\u30fc\ufe63",
    *"./_,:|*+~\\\u00b7\u30fb\uff0e", *"\u200b\u200c\u200d\u2060\ufeff", "  ", " - ", "\u200b-\u200b",
)  # fmt: skip


@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("sizes", [(4, 4, 4, 4), (1,) * 16, (2,) * 8, (8, 8), (6, 10), (5, 5, 5, 1)])
def test_no_separator_hides_a_card_number(separator: str, sizes: tuple[int, ...]) -> None:
    rest = iter("4242424242424242")
    number = separator.join("".join(next(rest) for _ in range(size)) for size in sizes)
    assert looks_like_card_data(number)
    assert looks_like_card_data(f"paid with x{number}y")
    assert not any(character.isdigit() for character in mask_digits(number))


@pytest.mark.parametrize(
    "shape", ["x{0}", "{0}x", "\u30ab\u30fc\u30c9{0}", "{0}\u5186", "x{0}x42", "till3x{0}", "000{0}", "0000{0}"]
)
def test_adjacent_text_does_not_hide_a_card_number(shape: str) -> None:
    assert looks_like_card_data(shape.format("4242424242424242"))


@pytest.mark.parametrize(
    "text",
    [
        "42424242424242424242", "114242424242424242", "4242424242424242" * 2,
        "1" + "4242424242424242" + "1" * 4, "2026-11-30T10:15:00.123456Z", "30.11.2026 10:15:00",
        "26/11/30 10:15:00.123", "1764406800000000000", "10.20.30.40:8080 10.20.30.41:8080",
        "1,000,000,000,000", "03-1234-5678, 090-1234-5678",
    ],
)  # fmt: skip
def test_a_longer_number_a_date_or_an_address_is_ignored(text: str) -> None:
    assert not looks_like_card_data(text)


def test_masking_replaces_only_the_card_number() -> None:
    assert mask_digits("caf\u00e9 4242 4242 4242 4242 x5") == "caf\u00e9 **** **** **** **** x5"
    assert mask_digits("x\uff14\uff12" + "42" * 7) == "x" + "*" * 16
    assert (
        mask_digits("pay_019ab4111111111111111cdef0123456 20261130") == "pay_019ab4111111111111111cdef0123456 20261130"
    )


@pytest.mark.parametrize("number", [*NUMBERS, *(with_check_digit(b.ljust(n - 1, "1")) for b, n in BEGINNINGS)])
def test_only_numbers_in_the_table_of_brands_are_card_numbers(number: str) -> None:
    lengths = {length for _beginning, lengths in BRANDS.values() for length in lengths}
    assert len(number) in lengths
    assert could_be_card_number(number)


@pytest.mark.parametrize(
    "name",
    [
        "cvv", "CVV2", "cvc", "card_cvv", "cardcvc2", "cid", "pin", "PIN_BLOCK", "track2", "track_data",
        "pan", "cardNumber", "card-number", "Card Number", "cvvCode", "security_code", "track2.data",
        "\uff23\uff36\uff36", "card_pin",
    ],
)  # fmt: skip
def test_a_field_named_like_a_card_secret_is_refused_with_any_value(name: str) -> None:
    assert list(find_card_data({"metadata": {name: "x"}})) == [f"metadata.{name}"]


@pytest.mark.parametrize(
    "name", ["pinned", "company", "opinion", "discount", "card_brand", "card_last_4", "span", "number", "no"]
)
def test_a_field_whose_name_merely_contains_such_a_word_is_accepted(name: str) -> None:
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
def test_each_location_is_reported_without_the_card_number(value: Any, paths: list[str]) -> None:
    assert list(find_card_data(value)) == paths


def test_masked_text_contains_no_card_number() -> None:
    assert mask("4111111111111111") == "…"
    assert mask("harmless") == "harmless"


def test_a_text_of_thousands_of_groups_is_refused_unread() -> None:
    assert looks_like_card_data("1 2 " * 1_000)
    assert not looks_like_card_data("1 2 " * 100)
    assert not looks_like_card_data("12345" * 10_000)


def test_only_the_digits_of_the_card_number_are_masked() -> None:
    masked = mask_digits("slip 1234567890123456, card 4111 1111 1111 1111")
    assert masked == "slip 1234567890123456, card **** **** **** ****"
