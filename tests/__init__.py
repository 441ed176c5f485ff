"""All tests, as one package.

The package lets two test files have the same name and gives every test the import path ``tests.factories``. Shared modules
are listed for assertion rewriting, so that their failures show the compared values as those in test files do.
"""

from pathlib import Path

import pytest

pytest.register_assert_rewrite(*(f"tests.{found.stem}" for found in Path(__file__).parent.iterdir()))

from tests import branch_coverage  # noqa: E402 - a module is rewritten only when it is not imported yet

branch_coverage.measure()  # before any test module imports the product
