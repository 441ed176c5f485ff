"""How a provider's file is to be read: which of its columns is which field of ours, and in which words and signs.

A mapping is declared, never guessed: a file whose columns are not the mapping's is refused. What a merchant declared last
for a provider is kept and used for its next files; before that there is what the provider's adapter says of its own files.
"""

import codecs
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

FIELDS = ("kind", "status", "our_reference", "provider_reference", "amount", "currency", "fee", "at", "on")
"""What a line can tell. ``at`` is an instant (RFC 3339), ``on`` a day (``2026-11-23``, ``2026/11/23``, ``20261123``)."""

LineKind = Literal["payment", "refund", "reversal"]
MAX_WORDS = 50
OUR_KINDS: dict[str, LineKind] = {"payment": "payment", "refund": "refund", "reversal": "reversal"}


class StatementMapping(BaseModel):
    """A declared mapping. Columns that are not named are kept in the raw file and otherwise ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    columns: dict[str, str] = Field(description="Our field → the file's column, for example {'amount': 'Gross'}.")
    kinds: dict[str, LineKind] = Field(
        default=OUR_KINDS,
        max_length=MAX_WORDS,
        description="The file's words for a kind. Without a kind column every line above zero is a payment.",
    )
    settled_words: list[str] = Field(
        default_factory=lambda: ["settled", "succeeded", "completed", "paid"],
        min_length=1,
        max_length=MAX_WORDS,
        description="The file's statuses of lines whose money moved. Without a status column all did.",
    )
    amounts: Literal["minor", "major"] = Field("minor", description="1050 or 10.50 for ten dollars and a half.")
    signs: Literal["by_kind", "signed"] = Field(
        "by_kind", description="Whether refunds are written above zero (the kind says which way) or below."
    )
    currency: str | None = Field(None, description="The currency of every line, where there is no such column.")
    delimiter: str = Field(",", min_length=1, max_length=1)
    encoding: str = Field("utf-8", max_length=20, description="For example shift_jis.")

    @field_validator("columns")
    @classmethod
    def _known_fields(cls, columns: dict[str, str]) -> dict[str, str]:
        unknown = sorted(set(columns) - set(FIELDS))
        if unknown:
            raise ValueError(f"There is no field {', '.join(unknown)}; the fields are {', '.join(FIELDS)}")
        return columns

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, encoding: str) -> str:
        try:
            name = codecs.lookup(encoding).name
        except LookupError:
            raise ValueError("Must be an encoding, for example utf-8 or shift_jis") from None
        if name not in ENCODINGS:
            raise ValueError(f"Must be one of {', '.join(ENCODINGS)}")
        return name

    @model_validator(mode="after")
    def _enough_to_match_by(self) -> Self:
        if "amount" not in self.columns:
            raise ValueError("columns must name the amount")
        if not {"our_reference", "provider_reference"} & set(self.columns):
            raise ValueError("columns must name our_reference, provider_reference or both")
        if "currency" not in self.columns and self.currency is None:
            raise ValueError("columns must name the currency, or currency say it for all lines")
        return self


ENCODINGS = ("utf-8", "utf-16", "shift_jis", "cp932", "euc_jp", "ascii", "iso8859-1")
"""Encodings of text that a bank's export may come in; no other codecs (some unpack archives)."""
