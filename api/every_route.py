"""What is asked of each request before its route is, whatever the route: one list for the usual and for the hot ones."""

from api.content_type import right_content_type
from api.named_once import named_once
from api.readable_query import readable_query

EVERY_ROUTE = (right_content_type, readable_query)
USUAL_ROUTE = (*EVERY_ROUTE, named_once)
"""The hot ones see to the last one while they read."""
