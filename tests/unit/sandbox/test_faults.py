"""Every documented fault parses to a fate, and no other text does."""

import pytest

from sandbox.errors import Refused
from sandbox.faults import APPROVE, FAULTS, HIGHEST, Fate, Parameter, parse_fate

EXAMPLES = {
    Parameter.NONE: "",
    Parameter.CODE: ":insufficient_funds",
    Parameter.TIMES: ":3",
    Parameter.MILLISECONDS: ":250",
    Parameter.AMOUNT: ":700",
}
FATES = {
    "approve": APPROVE,
    "decline:expired_card": Fate(decline_code="expired_card"),
    "partial:700": Fate(partial_amount=700),
    "timeout_before_charge": Fate(fault="timeout_before_charge"),
    "timeout_after_charge": Fate(fault="timeout_after_charge"),
    "error_500_before_charge": Fate(fault="error_500_before_charge"),
    "error_500_after_charge": Fate(fault="error_500_after_charge"),
    "reset_after_charge": Fate(fault="reset_after_charge"),
    "garbage_after_charge": Fate(fault="garbage_after_charge"),
    "unavailable:3": Fate(refusal="unavailable", refusal_times=3),
    "rate_limited:2": Fate(refusal="rate_limited", refusal_times=2),
    "slow:300": Fate(slow_ms=300),
    "pending:400": Fate(pending_ms=400),
    "not_found_lie:60000": Fate(fault="timeout_after_charge", hidden_ms=60_000),
    "inquiry_unavailable:500": Fate(dark_ms=500),
    "ignore_idempotency": Fate(ignores_idempotency=True),
}


def without_text(fate: Fate) -> Fate:
    return Fate(**{name: getattr(fate, name) for name in Fate.__slots__ if name != "text"})


def test_every_fault_has_an_example_here() -> None:
    assert {text.partition(":")[0] for text in FATES} == set(FAULTS)


@pytest.mark.parametrize("text", FATES)
def test_each_fault_parses_to_one_field(text: str) -> None:
    assert without_text(parse_fate(text)) == FATES[text]


def test_a_fate_remembers_its_text_for_the_store() -> None:
    assert parse_fate("slow:5+partial:1").text == "slow:5+partial:1"


@pytest.mark.parametrize("separator", ["+", ",", " + ", ", "])
def test_faults_are_joined_by_plus_or_comma(separator: str) -> None:
    text = separator.join(["timeout_after_charge", "not_found_lie:60000", "ignore_idempotency"])
    wanted = Fate(fault="timeout_after_charge", hidden_ms=60_000, ignores_idempotency=True)
    assert without_text(parse_fate(text)) == wanted


def test_a_lying_inquiry_can_be_combined_with_a_fault_other_than_a_timeout() -> None:
    assert parse_fate("not_found_lie:5+reset_after_charge").fault == "reset_after_charge"


@pytest.mark.parametrize(
    ("first", "second"),
    [(a, b) for a in FAULTS for b in FAULTS if FAULTS[a].group is FAULTS[b].group],
)
def test_two_faults_of_one_slot_are_refused(first: str, second: str) -> None:
    joined = "+".join(word + EXAMPLES[FAULTS[word].parameter] for word in (first, second))
    with pytest.raises(Refused, match="contradict"):
        parse_fate(joined)


@pytest.mark.parametrize("word", [word for word in FAULTS if FAULTS[word].parameter is not Parameter.NONE])
@pytest.mark.parametrize("parameter", ["", ":", ":-1", ":1.5", ":Ä", ":1:2", ": 5"])
def test_a_bad_parameter_is_refused(word: str, parameter: str) -> None:
    with pytest.raises(Refused, match=f"{word} takes") as refused:
        parse_fate(word + parameter)
    assert refused.value.status == 400


@pytest.mark.parametrize("word", [word for word in FAULTS if FAULTS[word].parameter in HIGHEST])
def test_a_number_has_a_lowest_and_a_highest_value(word: str) -> None:
    highest = HIGHEST[FAULTS[word].parameter]
    parse_fate(f"{word}:1")
    parse_fate(f"{word}:{highest}")
    for number in (0, highest + 1):
        with pytest.raises(Refused):
            parse_fate(f"{word}:{number}")


@pytest.mark.parametrize(
    "text", ["", "aprove", "APPROVE", "approve+", "approve:1", "slow300", "timeout_after_charge:1"]
)
def test_an_unknown_fate_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        parse_fate(text)


def test_partial_never_charges_more_than_requested() -> None:
    assert parse_fate("partial:700").captured(1_000) == 700
    assert parse_fate("partial:700").captured(500) == 500
    assert APPROVE.captured(500) == 500
