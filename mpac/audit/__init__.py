"""The auditors beside the invariants: they compare our payments and books with the provider's own ledger.

| auditor    | compares                                                            | for                             |
|------------|---------------------------------------------------------------------|---------------------------------|
| `provider` | each payment with what the provider moved for it                    | every payment                   |
| `net`      | settlements and their corrections with what the provider moved      | every reference at the provider |
| `sums`     | the sums of settlements, ledger accounts and the provider's ledger  | every store, currency, provider |

They share no code with the first auditor (``workflows.invariants``) or with the product: plain SQL on our side, HTTP on the
provider's, and a comparison in between. A mistake that all of them miss would have to be made twice, in different ways.
"""
