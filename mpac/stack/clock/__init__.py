"""`mpac clock`: the clock of a local stack, which is its database's and its provider's together."""
