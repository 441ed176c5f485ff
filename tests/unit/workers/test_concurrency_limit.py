"""A limited number of ids runs at once; the others wait in order, without occupying a thread."""

from workers.concurrency_limit import ConcurrencyLimit


def test_ids_beyond_the_limit_wait_and_enter_in_order() -> None:
    limit = ConcurrencyLimit(slots=2, max_waiting=10)
    assert [limit.acquire(one) for one in "abcdc"] == [True, True, False, False, False]
    assert limit.release() == "c"
    assert limit.acquire("c")
    assert [limit.release(), limit.release()] == ["d", None]
    assert [limit.acquire(one) for one in "ef"] == [True, True]


def test_the_number_of_waiting_ids_is_limited() -> None:
    limit = ConcurrencyLimit(slots=1, max_waiting=2)
    assert [limit.acquire(one) for one in "abcd"] == [True, False, False, False]
    assert [limit.release() for _ in range(3)] == ["b", "c", None]


def test_an_id_that_has_entered_does_not_wait_for_others() -> None:
    limit = ConcurrencyLimit(slots=1, max_waiting=2)
    assert [limit.acquire("a"), limit.acquire("b")] == [True, False]
    assert limit.release() == "b"
    assert [limit.acquire("c"), limit.acquire("b")] == [True, False]
    assert limit.release() == "b"
    assert limit.acquire("b")
    assert limit.release() is None
