"""The rows of the benchmark by name, in the order in which ``bench all`` measures them."""

from collections.abc import Mapping

from benchmarks.frame import Row
from benchmarks.rows import growth, mix, ordinary, payments, reads, storage, tills, tokens, waits

ROWS: Mapping[str, Row] = {
    module.ROW.name: module.ROW for module in (payments, ordinary, waits, reads, mix, tokens, tills, storage, growth)
}
