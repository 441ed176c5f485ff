"""Activation codes have a readable alphabet, are normalised when typed, and are stored only as hashes."""

import re

from workflows.devices.activation import CODE_ALPHABET, CODE_LENGTH, code_matches, hash_code, new_code, normalise_code

SECRET = b"a secret of the tests"


def test_an_activation_code_has_twelve_characters_that_are_not_easily_confused() -> None:
    assert CODE_LENGTH == 12
    assert not set("01OIL") & set(CODE_ALPHABET)
    codes = {new_code() for _ in range(200)}
    assert len(codes) == 200
    assert all(re.fullmatch(f"[{CODE_ALPHABET}]{{12}}", code) for code in codes)
    assert set("".join(codes)) == set(CODE_ALPHABET)


def test_only_the_right_code_matches_its_hash() -> None:
    code = new_code()
    kept = hash_code(code, device_id="dev_1", secret=SECRET)
    assert code not in kept
    assert code_matches(code, kept, device_id="dev_1", secret=SECRET)
    assert not code_matches(new_code(), kept, device_id="dev_1", secret=SECRET)
    assert not code_matches("", kept, device_id="dev_1", secret=SECRET)


def test_code_hash_matches_for_its_device_and_secret_only() -> None:
    code = new_code()
    kept = hash_code(code, device_id="dev_1", secret=SECRET)
    assert not code_matches(code, kept, device_id="dev_2", secret=SECRET)
    assert not code_matches(code, kept, device_id="dev_1", secret=b"another")


def test_lower_case_spaces_and_hyphens_are_normalised() -> None:
    assert normalise_code("abcd-efgh 2345") == "ABCDEFGH2345"


def test_letters_outside_the_alphabet_are_not_normalised() -> None:
    assert normalise_code("ſtraße") == "ſTRAßE"  # upper() would turn these letters into S and SS
    assert normalise_code("２３\u00a0ａ") == "２３\u00a0ａ"
