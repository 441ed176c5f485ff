"""What is asked of each request before its route is, whatever the route: one list for the usual and for the hot ones."""

from api.content_type import right_content_type
from api.named_once import named_once
from api.readable_query import readable_query
from api.single_headers import single_headers

EVERY_ROUTE = (single_headers, right_content_type, readable_query)
USUAL_ROUTE = (*EVERY_ROUTE, named_once)
"""The hot ones see to the last one while they read."""
