"""`mpac clock`: move the clock of a local stack, that is, of its database and its provider together."""
