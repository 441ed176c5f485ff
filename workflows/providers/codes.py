"""Coded values in providers' answers as we record them."""

from enum import StrEnum


class FailureCode(StrEnum):
    """The ``failure_code`` of a payment or refund, unless the provider gave one of its own."""

    DECLINED = "declined"  # declined without a code, or declined by the terminal's own card application
    REFUSED_BY_PROVIDER = "refused_by_provider"  # the provider refuses such a request permanently
    PROVIDER_UNAVAILABLE = "provider_unavailable"  # no provider could be reached in all tries; no money moved
    AMOUNT_MISMATCH = "amount_mismatch"  # the provider moved another amount; a person has to look
    FEE_OUT_OF_RANGE = "fee_out_of_range"  # the provider reported an impossible fee; a person has to look


class NextActionType(StrEnum):
    """What the terminal has to do next."""

    DISPLAY_QR = "display_qr"  # show the code of qr_content until expires_at
