"""The demonstration: a shop full of terminals, everything that can go wrong, a day of three stores, and the proof.

| file | what |
|---|---|
| ``play`` | the whole evening: stage, seed, chapters, proof |
| ``demo`` | the stack it runs on, and the settings that make minutes of patience fit into seconds |
| ``chapters`` | one file for each part of the story; a later part of the product adds a file |
| ``till``, ``sales`` | a cashier with a terminal, and what happens at tills |
| ``day`` | the folder of the second story: a day of three stores, its close and its reconciliation |
| ``client`` | a table that orders, splits its bill, pays and gets something back |
| ``killing`` | the worker that is killed |
| ``statistics``, ``screen`` | what is counted, and what is seen |
| ``retry_until_answered``, ``calls`` | the one way to other processes, which repeats what was turned away or lost |
| ``view``, ``records`` | what is read from the database to tell the story |
| ``problems``, ``ending`` | what went wrong, and which of its ends the demonstration came to |

Everything a terminal does here goes over real HTTP with a device's own key; nothing of the product is called directly.
"""
