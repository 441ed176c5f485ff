"""The tests, as one package, so that two files of one name never meet and every test can say ``from tests.factories``.

Assertions in its shared modules (``live_stack``, factories) say what they compared, like those in test files.
"""

from pathlib import Path

import pytest

pytest.register_assert_rewrite(*(f"tests.{found.stem}" for found in Path(__file__).parent.iterdir()))

from tests import branch_coverage  # noqa: E402 - a module is rewritten only when it is not imported yet

branch_coverage.measure()  # before any test module imports the product
