"""The demonstration: terminals sell while faults happen, three stores live through a day, and auditors check the result.

| module | content |
|---|---|
| ``run`` | the whole demonstration: start the stack, seed, play the chapters, audit |
| ``environment`` | the stack it runs on, and settings that shorten minutes of waiting to seconds |
| ``chapters`` | one module for each part of the story; new parts of the product add theirs |
| ``terminal_client``, ``sales`` | a cashier with a terminal, and the kinds of sales with their faults |
| ``day`` | the second story: a day of three stores, its close and its reconciliation |
| ``guest_client`` | guests at a table who order, split the bill, pay and get a refund |
| ``kill_worker`` | the payment worker is killed |
| ``statistics``, ``console`` | what is counted, and what is printed |
| ``http_client``, ``retry`` | the only way to other processes; requests that were lost or refused for now are repeated |
| ``database_client``, ``queries`` | what is read from the database to tell the story |
| ``problems``, ``result`` | what went wrong, and how the demonstration ended |

Terminals use real HTTP and their devices' own keys. Nothing of the product is called directly.
"""
