"""Few ids run at once; the others wait without a thread, in order."""

from workers.concurrency_limit import TurnQueue


def test_as_many_enter_as_there_are_places_and_the_others_follow_in_turn() -> None:
    line = TurnQueue(places=2, most_waiting=10)
    assert [line.enter(one) for one in "abcdc"] == [True, True, False, False, False]
    assert line.leave() == "c"
    assert line.enter("c")
    assert [line.leave(), line.leave()] == ["d", None]
    assert [line.enter(one) for one in "ef"] == [True, True]


def test_no_more_wait_than_there_is_room_for() -> None:
    line = TurnQueue(places=1, most_waiting=2)
    assert [line.enter(one) for one in "abcd"] == [True, False, False, False]
    assert [line.leave() for _ in range(3)] == ["b", "c", None]


def test_an_id_with_a_place_does_not_wait_for_another() -> None:
    line = TurnQueue(places=1, most_waiting=2)
    assert [line.enter("a"), line.enter("b")] == [True, False]
    assert line.leave() == "b"
    assert [line.enter("c"), line.enter("b")] == [True, False]
    assert line.leave() == "b"
    assert line.enter("b")
    assert line.leave() is None
