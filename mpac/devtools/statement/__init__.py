"""`mpac statement`: write statements with known breaks, for scoring a matcher."""
