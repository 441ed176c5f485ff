"""Reports and exports of a settlement: load, compose, render as HTML or PDF, export as CSV or JSON."""
