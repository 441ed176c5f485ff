"""The checks that run before every route: one list for the usual and the hot routes."""

from api.content_type import right_content_type
from api.named_once import named_once
from api.query_names import check_query

EVERY_ROUTE = (right_content_type, check_query)
USUAL_ROUTE = (*EVERY_ROUTE, named_once)
"""Hot routes do the last one while they decode the body."""
