"""Measure the branch coverage of every Python process whose ``PYTHONPATH`` names this folder.

Python imports ``sitecustomize`` when it starts. The measuring module is loaded from its file, because importing it from the
package ``tests`` would import pytest.
"""

import importlib.util
import os
import sys
from pathlib import Path

if "BRANCH_COVERAGE_FOLDER" in os.environ:
    _spec = importlib.util.spec_from_file_location("_branch_coverage", Path(__file__).parents[1] / "branch_coverage.py")
    assert _spec
    assert _spec.loader
    _module = importlib.util.module_from_spec(_spec)
    sys.modules[_spec.name] = _module
    _spec.loader.exec_module(_module)
    _module.measure()
