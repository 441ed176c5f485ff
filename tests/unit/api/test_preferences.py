"""Which of the two forms of a list an ``Accept`` header asks for."""

import pytest

from api.answers import prefers_csv


@pytest.mark.parametrize(
    ("accept", "is_csv"),
    [
        ("text/csv", True),
        ("TEXT/CSV", True),
        ("text/csv; charset=utf-8", True),
        ("text/csv;q=0.5", True),
        ("text/csv, application/json", True),
        ("application/json;q=0.5, text/csv;q=0.9", True),
        ("application/json, text/csv;q=0.1", False),
        ("text/csv;q=0", False),
        ("application/json, text/plain, */*", False),
        ("*/*", False),
        ("text/*", False),
        ("", False),
        ("application/vnd.text/csv", False),
        ("text/csvx", False),
        ("text/csv;q=x", False),
        ("text/csv;q=nan", False),
        (",;,;q=,text", False),
    ],
)
def test_csv_is_sent_where_it_is_named_and_json_is_not_preferred(accept: str, is_csv: bool) -> None:
    assert prefers_csv(accept) is is_csv
