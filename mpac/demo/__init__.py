"""The demonstration: stores full of terminals, every fault that can happen, a day of three stores, and an audit.

| module | content |
|---|---|
| ``run`` | the whole demonstration: start the stack, seed, play the chapters, audit |
| ``environment`` | the stack it runs on, and settings that shorten minutes of waiting to seconds |
| ``chapters`` | one module for each part of the story; a later part of the product adds one |
| ``till_client``, ``sales`` | a cashier with a terminal, and what happens at the tills |
| ``day`` | the second story: a day of three stores, its close and its reconciliation |
| ``table_client`` | a table that orders, splits its bill, pays and gets a refund |
| ``kill_worker`` | the payment worker is killed |
| ``statistics``, ``console`` | what is counted, and what is shown |
| ``retry``, ``calls`` | the only way to other processes; it repeats requests that were refused for now or lost |
| ``database_view``, ``records`` | what is read from the database to tell the story |
| ``problems``, ``ending`` | what went wrong, and how the demonstration ended |

Everything a terminal does here goes over real HTTP with a device's own key; nothing of the product is called directly.
"""
