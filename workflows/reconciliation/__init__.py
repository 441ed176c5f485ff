"""Compare a settlement's lines with the providers' statements, and classify and resolve every difference."""
