"""Define how a provider's statement file is read: which columns hold our fields, the values of kinds and statuses, the signs.

A mapping is declared, never guessed, and a file with other columns is refused. The last mapping that a merchant declared for a
provider is stored and used for its next files. Until then, the default of the provider's adapter applies.
"""

import codecs
import string
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

FIELDS = ("kind", "status", "our_reference", "provider_reference", "amount", "currency", "fee", "at", "on")
"""The fields of a line. ``at`` is a timestamp (RFC 3339), ``on`` a date (``2026-11-23``, ``2026/11/23``, ``20261123``)."""

LineKind = Literal["payment", "refund", "reversal"]
MAX_WORDS = 50
MAX_LENGTH = 200
NO_DELIMITERS = frozenset(string.ascii_letters + string.digits + '" ')
OUR_KINDS: dict[str, LineKind] = {"payment": "payment", "refund": "refund", "reversal": "reversal"}


class StatementMapping(BaseModel):
    """A declared mapping. Columns that it does not name are ignored; the raw file is stored with them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    columns: dict[str, str] = Field(description="Our field → the file's column, for example {'amount': 'Gross'}.")
    kinds: dict[str, LineKind] = Field(
        default=OUR_KINDS,
        max_length=MAX_WORDS,
        description="The file's value → our kind. Without a kind column every line above zero is a payment.",
    )
    settled_words: list[str] = Field(
        default_factory=lambda: ["settled", "succeeded", "completed", "paid"],
        min_length=1,
        max_length=MAX_WORDS,
        description="The file's statuses of lines whose money moved. Without a status column all did.",
    )
    unsettled_words: list[str] = Field(
        default_factory=lambda: [
            "failed",
            "declined",
            "rejected",
            "cancelled",
            "canceled",
            "voided",
            "expired",
            "pending",
        ],
        max_length=MAX_WORDS,
        description="The file's statuses of lines whose money did not move. A file with any other status is refused.",
    )
    amounts: Literal["minor", "major"] = Field("minor", description="1050 or 10.50 for ten dollars and a half.")
    decimal_mark: Literal[".", ","] | None = Field(
        None,
        description="The mark before the decimals of major amounts. Without it, ambiguous amounts (1.000) are refused.",
    )
    thousands_mark: Literal[",", ".", "'", " "] | None = Field(
        None,
        description="The mark between groups of three digits. By default a comma, or a point if the decimal mark is a comma.",
    )
    signs: Literal["by_kind", "signed"] = Field(
        "by_kind", description="Whether refunds are written above zero (their kind gives the direction) or below."
    )
    currency: str | None = Field(None, description="The currency of every line, if there is no currency column.")
    delimiter: str = Field(",", min_length=1, max_length=1)
    encoding: str = Field("utf-8", max_length=20, description="For example shift_jis.")

    @property
    def marks(self) -> tuple[str, str]:
        """The decimal mark and the thousands mark; by default a point and a comma."""
        decimal_mark = self.decimal_mark or "."
        return decimal_mark, self.thousands_mark or ("," if decimal_mark == "." else ".")

    @field_validator("columns")
    @classmethod
    def _check_columns(cls, columns: dict[str, str]) -> dict[str, str]:
        unknown = sorted(set(columns) - set(FIELDS))
        if unknown:
            raise ValueError(f"There is no field {', '.join(unknown)}; the fields are {', '.join(FIELDS)}")
        return columns

    @field_validator("columns", "kinds", "settled_words", "unsettled_words")
    @classmethod
    def _check_texts(cls, value: Any) -> Any:
        texts = [*value, *value.values()] if isinstance(value, dict) else value
        if any(len(text) > MAX_LENGTH or not text.isprintable() for text in texts):
            raise ValueError(f"Must hold printable texts of at most {MAX_LENGTH} characters")
        return value

    @field_validator("delimiter")
    @classmethod
    def _check_delimiter(cls, delimiter: str) -> str:
        if delimiter != "\t" and not (
            delimiter.isascii() and delimiter.isprintable() and delimiter not in NO_DELIMITERS
        ):
            raise ValueError("Must be a tab or a mark such as a comma, a semicolon or |")
        return delimiter

    @field_validator("encoding")
    @classmethod
    def _check_encoding(cls, encoding: str) -> str:
        try:
            name = codecs.lookup(encoding).name
        except LookupError:
            raise ValueError("Must be an encoding, for example utf-8 or shift_jis") from None
        if name not in ENCODINGS:
            raise ValueError(f"Must be one of {', '.join(ENCODINGS)}")
        return name

    @model_validator(mode="after")
    def _check_marks(self) -> Self:
        if self.thousands_mark and not self.decimal_mark:
            raise ValueError("thousands_mark needs decimal_mark")
        if self.decimal_mark and self.decimal_mark == self.thousands_mark:
            raise ValueError("decimal_mark and thousands_mark must differ")
        if self.decimal_mark and self.amounts == "minor":
            raise ValueError("decimal_mark is for amounts: major; minor units have no marks")
        return self

    @model_validator(mode="after")
    def _check_required_columns(self) -> Self:
        if "amount" not in self.columns:
            raise ValueError("columns must name the amount")
        if not {"our_reference", "provider_reference"} & set(self.columns):
            raise ValueError("columns must name our_reference, provider_reference or both")
        if "currency" not in self.columns and self.currency is None:
            raise ValueError("columns must name the currency, or currency must give it for all lines")
        return self


ENCODINGS = ("utf-8", "utf-16", "shift_jis", "cp932", "euc_jp", "ascii", "iso8859-1")
"""The text encodings of banks' exports. Other codecs are not allowed, because some of them unpack archives."""
