"""Card and e-money run by the terminal's own card application: the terminal reports the result, we record it."""

from workflows.providers.base import Charge, Declined, Outcome, Succeeded

NAME = "external"
APPROVED = "approved"
DECLINED = "declined"


def settle(charge: Charge) -> Outcome:
    """What the terminal reported. Says the same however often it is called."""
    if charge.facts.get("external_result") != APPROVED:
        return Declined(code=DECLINED, message="The terminal reported that the card application declined")
    return Succeeded(amount=charge.amount)
