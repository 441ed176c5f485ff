"""The judges beside the invariants: what the provider's own ledger says of our payments, and what all books add up to.

| judge      | compares                                                            | for                             |
|------------|---------------------------------------------------------------------|---------------------------------|
| `provider` | each payment with what the provider moved for it                    | every payment                   |
| `net`      | settlements with their corrections with what the provider moved     | every reference at the provider |
| `sums`     | settlements, the ledger's accounts, the provider's ledger: added up | every store, currency, provider |

They share no code with the first judge (``workflows.invariants``) and none with the product: plain SQL on our side, HTTP
on the provider's, and a comparison in between. Where all agree, a mistake would have to be made twice, differently.
"""
