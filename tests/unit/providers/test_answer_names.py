"""The names of answers are stored in the database and are labels of metrics, so they must not change."""

from typing import get_args

from workflows.payments.states import AttemptOutcome
from workflows.providers.base import Answer


def test_every_answer_has_the_name_of_an_attempt_outcome() -> None:
    names = [answer.name for answer in get_args(Answer)]
    assert sorted(names) == sorted(AttemptOutcome)
    assert len(set(names)) == len(names)
