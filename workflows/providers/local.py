"""Local providers, which need no network call: the terminal reports what has already happened.

| provider     | the terminal reports                                                      |
|--------------|---------------------------------------------------------------------------|
| ``cash``     | the money is in the drawer                                                |
| ``external`` | the result of its own card application, for a card or e-money payment     |

The acquirer behind a card application does not know our references, so its statement is matched by the numbers that the
terminal reported: the acquirer's reference number (ARN), or else the number of the slip.

The answer to a report never changes, so another worker may compute it again after a crash.
"""

from workflows.providers.base import Charge, ChargeRefund, Declined, FailureCode, Outcome, Succeeded

CASH = "cash"
EXTERNAL = "external"
APPROVED = "approved"


def charge_cash(charge: Charge) -> Outcome:
    """Return the success of a cash sale."""
    return Succeeded(amount=charge.amount)


def charge_external(charge: Charge) -> Outcome:
    """Return the result of the terminal's own card application."""
    if charge.terminal_data.get("external_result") != APPROVED:
        return Declined(code=FailureCode.DECLINED, message="The terminal reported that the card application declined")
    return Succeeded(
        amount=charge.amount,
        provider_reference=charge.terminal_data.get("card_arn") or charge.terminal_data.get("slip_number"),
    )


def refund(refund: ChargeRefund) -> Outcome:
    """Return the result of a refund that a person or the terminal's own card application carried out.

    Without a report the refund counts as approved: it was carried out before it was requested.
    """
    if refund.report.get("result", APPROVED) != APPROVED:
        return Declined(code=FailureCode.DECLINED, message="The terminal reported that the money was not refunded")
    return Succeeded(
        amount=refund.amount, provider_reference=refund.report.get("card_arn") or refund.report.get("slip_number")
    )
