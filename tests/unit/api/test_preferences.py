"""The ``Accept`` header decides between two forms of an answer."""

import pytest

from api.responses import prefers_csv, prefers_json


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
def test_csv_is_sent_if_accepted_unless_json_is_preferred(accept: str, is_csv: bool) -> None:
    assert prefers_csv(accept) is is_csv


@pytest.mark.parametrize(
    ("accept", "is_json"),
    [
        ("text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8", False),  # a browser
        ("application/json, text/plain, */*", True),  # a client library
        ("application/json", True),
        ("APPLICATION/JSON; charset=utf-8", True),
        ("application/*", True),
        ("text/html;q=0.5, application/json", True),
        ("text/html, application/json", False),
        ("application/json;q=0.1, text/html", False),
        ("application/json;q=0", False),
        ("application/json;q=0.4, */*;q=0.5", False),
        ("*/*", False),
        ("", False),
        ("application/json;q=x", False),
        ("application/json;q=nan", False),
        ("application/jsonp", False),
    ],
)
def test_json_is_sent_instead_of_html_to_a_client_that_prefers_json(accept: str, is_json: bool) -> None:
    assert prefers_json(accept) is is_json
