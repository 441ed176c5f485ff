"""`mpac statement`: statements with known breaks, for scoring a matcher."""
