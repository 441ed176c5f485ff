"""Process payments and refunds in the same way: claim a row, call its provider, decide, and record the answer."""
