"""What payments and refunds share between a claim and its recorded outcome: leases, decisions, the executor."""
