"""Archive months of payments: move their tables out of the live books, and carry over what the live books still need.

| module      | does                                                                                     |
|-------------|------------------------------------------------------------------------------------------|
| `months`    | lists the months, and names their tables                                                 |
| `obstacles` | tells why a month may not be archived yet                                                |
| `carry`     | writes the balances, bills and refunds that the live books keep                          |
| `files`     | writes the month's rows to files, reads them back and compares them with the tables      |
| `move`      | moves the tables between the schemas ``public`` and ``archive``, with short locks        |
| `archive`   | the use-cases: archive, restore and drop a month                                         |

`mpac archive` runs them as the owner of the tables, on one connection of its own. What the rest of the product shows of an
archived month is decided where it is read: ``archived_month_of`` tells from an id that its month was archived.
"""
