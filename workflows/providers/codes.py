"""Coded values of providers' answers, as payments and refunds store them."""

from enum import StrEnum


class FailureCode(StrEnum):
    """The ``failure_code`` of a payment or refund, unless the provider gave one of its own."""

    DECLINED = "declined"  # declined without a code, or declined by the terminal's own card application
    REFUSED_BY_PROVIDER = "refused_by_provider"  # the provider refuses such a request permanently
    PROVIDER_UNAVAILABLE = "provider_unavailable"  # the provider was not reached on any attempt; no money moved
    AMOUNT_MISMATCH = "amount_mismatch"  # the provider moved another amount; a person has to review it
    FEE_OUT_OF_RANGE = "fee_out_of_range"  # the provider reported an impossible fee; a person has to review it


class NextActionType(StrEnum):
    """The next action of the terminal."""

    DISPLAY_QR = "display_qr"  # show the code of qr_content until expires_at
