"""What the end of a day costs: a store with a million lines, ten thousand stores at the same minute, the ledger's share."""
