"""The rows of the benchmark: one module each. This package imports none of them, ``benchmarks.table_of_rows`` does."""
