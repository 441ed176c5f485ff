"""Process payments and refunds alike, from a claim to its recorded outcome: leases, decisions, the executor."""
