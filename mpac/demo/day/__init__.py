"""A business day of three stores in Tokyo, from the morning to the accountant's signature two days later.

| file | what |
|---|---|
| ``clock`` | moves the database's and the provider's clock from one scene to the next |
| ``people`` | the users behind the calls, each with a token of their own |
| ``stores`` | the merchant and its three stores, made over HTTP as an installation makes them |
| ``sales`` | what is sold, and what will be said about it on the provider's statement |
| ``selling`` | the scenes of the day and the night |
| ``papers`` | the provider's statement with one break of each kind, and the card company's file |
| ``reconciling`` | the scenes after it: cash, statements, breaks, reports |
| ``others`` | the stores of the terminals, whose days end meanwhile |
| ``tables`` | what is shown of it |

Everything goes over HTTP; beat and the workers close, fetch and reconcile by themselves. Only the clock is moved, and only
when nothing is under way: what follows is waited for, as on a real midnight.
"""
