"""The balance auditor accepts books that agree, and reports a difference of one unit in any of them with its place."""

from typing import Any

import pytest

from mpac.audit.balance_audit import NOBODY, SENTENCES, compare
from mpac.audit.our_balances import Figures, OurBalances, Place

STORE: Place = ("sto_1", "JPY")
AT_PROVIDER, IN_DRAWER = (*STORE, "sandbox"), (*STORE, "cash")
SOLD = Figures(taken=1_050, refunded=300, fees=34, adjusted=-5)
CASH = Figures(taken=500, counted=-20)


def correct_books() -> OurBalances:
    """Return the books of a store with provider and cash sales, refunds and a correction.

    Twenty yen are missing in the drawer.
    """
    closed = {STORE: Figures(taken=1_550, refunded=300, fees=34, adjusted=-5)}
    return OurBalances(
        totals=dict(closed),
        lines_of_closed=dict(closed),
        settled={AT_PROVIDER: SOLD, IN_DRAWER: CASH},
        accounts={AT_PROVIDER: SOLD, IN_DRAWER: CASH},
        net_amount={AT_PROVIDER: 711, IN_DRAWER: 480},
    )


MOVED = {STORE: Figures(taken=1_050, refunded=300, fees=34)}


def more(sums: dict[Place, Figures], place: Place, **units: int) -> None:
    figures = sums.get(place, Figures())
    sums[place] = figures._replace(**{name: getattr(figures, name) + unit for name, unit in units.items()})


def test_no_difference_is_reported_if_all_books_agree() -> None:
    found = compare(correct_books(), moved=MOVED)
    assert found.differences == ()
    assert found.checked == {"totals": 1, "accounts": 2, "movements": 1}


def test_provider_movements_are_not_compared_without_a_provider() -> None:
    assert compare(correct_books(), moved=None).checked.keys() == {"totals", "accounts"}


@pytest.mark.parametrize("unit", [1, -1])
@pytest.mark.parametrize("name", Figures._fields)
@pytest.mark.parametrize(
    ("book", "place", "rules"),
    [
        ("totals", STORE, {"totals"}),
        ("lines_of_closed", STORE, {"totals"}),
        ("accounts", IN_DRAWER, {"accounts"}),
        ("settled", IN_DRAWER, {"accounts"}),
    ],
)
def test_a_difference_of_one_unit_in_our_books_is_reported(
    book: str, place: Place, rules: set[str], name: str, unit: int
) -> None:
    books = correct_books()
    more(getattr(books, book), place, **{name: unit})
    found = compare(books, moved=MOVED).differences
    assert {difference.rule for difference in found} == rules
    assert {difference.place for difference in found} == {" ".join(place)}
    assert name.replace("_", " ") in found[0].problem


@pytest.mark.parametrize("name", ["taken", "refunded", "fees"])
def test_a_difference_of_one_unit_to_the_provider_is_reported(name: str) -> None:
    moved = dict(MOVED)
    more(moved, STORE, **{name: 1})
    assert [difference.rule for difference in compare(correct_books(), moved=moved).differences] == ["movements"]
    books = correct_books()
    more(books.settled, AT_PROVIDER, **{name: 1})
    assert [difference.rule for difference in compare(books, moved=MOVED).differences] == ["accounts", "movements"]


@pytest.mark.parametrize("place", [("sto_2", "JPY"), ("sto_1", "USD"), (NOBODY, "JPY")])
def test_provider_money_of_an_unknown_store_or_currency_is_reported(place: Place) -> None:
    found = compare(correct_books(), moved={**MOVED, place: Figures(taken=1)}).differences
    assert [(difference.rule, difference.place) for difference in found] == [("movements", " ".join(place))]


def test_money_on_the_wrong_account_is_reported() -> None:
    books = correct_books()
    books.net_amount[AT_PROVIDER] += 1
    (found,) = compare(books, moved=MOVED).differences
    assert (found.rule, found.problem) == ("accounts", "there must be 711, and the accounts hold 712")


def test_our_corrections_are_not_compared_with_provider_movements() -> None:
    books = correct_books()
    for sums in (books.settled, books.accounts):
        more(sums, AT_PROVIDER, adjusted=100)
    books.net_amount[AT_PROVIDER] += 100
    assert compare(books, moved=MOVED).differences == ()


def test_every_rule_of_the_balance_auditor_has_a_sentence() -> None:
    checked: dict[str, Any] = compare(correct_books(), moved=MOVED).checked
    assert checked.keys() == SENTENCES.keys()
