"""A business day of three stores in Tokyo, from the morning until the accountant signs it off two days later.

| module | content |
|---|---|
| ``clock`` | moves the database's and the provider's clock from one scene to the next |
| ``users`` | the users behind the calls, each with their own token |
| ``stores`` | the merchant and its three stores, created over HTTP as in an installation |
| ``sales`` | what is sold, and the break that the provider's statement will have for it |
| ``sales_scenes`` | the scenes of the day and the night |
| ``statement_files`` | the provider's statement with one break of each kind, and the card company's file |
| ``reconciliation_scenes`` | the scenes after it: cash, statements, breaks, reports |
| ``other_stores`` | the stores of the terminals, whose days end meanwhile |
| ``tables`` | the tables that are printed |

All calls go over HTTP. Beat and the workers close, fetch and reconcile by themselves. The story only moves the clock while
nothing is in progress, and then waits for what follows, as at a real midnight.
"""
