"""Measurements: what the product does per second, what each payment costs, and beside it what a usual design does."""
