"""Names of indexes in the plans of partitioned tables."""

import re

_FIRST_MONTHS = re.compile(r"_until_\d{4}_\d{2}")


def without_first_months(plan: str) -> str:
    """Return ``plan`` with the names of the first partitions' indexes as they are in the whole table.

    The first partition is the table of before, ``payments_until_2027_01``, and its index ``payments_until_2027_01_by_card``
    belongs to ``payments_by_card``. PostgreSQL invents the names of later partitions' indexes.
    """
    return _FIRST_MONTHS.sub("", plan)
