"""Auditors that compare our payments and books with the provider's own ledger.

| module          | compares                                                           | for                             |
|-----------------|--------------------------------------------------------------------|---------------------------------|
| `payment_audit` | each payment with what the provider moved for it                   | every payment                   |
| `net_audit`     | settlements and their corrections with what the provider moved     | every reference at the provider |
| `balance_audit` | the sums of settlements, ledger accounts and the provider's ledger | every store, currency, provider |

A further auditor, ``workflows.invariants``, reads our database only. The modules here share no code with it or with the
product: they read our database in plain SQL and the provider's ledger over HTTP. So a mistake stays hidden only if it was made
twice, in different ways.
"""
