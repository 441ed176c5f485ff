"""Types of response fields, mostly integers: their meaning, and bounds from which their format (32 or 64 bits) is derived."""

from typing import Annotated

from pydantic import Field

LARGEST_INT32 = 2**31 - 1

Minor = Annotated[int, Field(description="Minor units of the currency")]
Version = Annotated[int, Field(ge=1, le=LARGEST_INT32, description="Grows with each change, remarks included")]
AttemptNumber = Annotated[int, Field(ge=1, le=LARGEST_INT32, description="The attempt's number, from 1")]
Cursor = Annotated[str | None, Field(description="`cursor` of the next page; `null` on the last one")]
Currency = Annotated[str, Field(pattern="^[A-Z]{3}$", description="ISO 4217", examples=["JPY"])]
Count = Annotated[int, Field(ge=0, description="A number of rows")]
RunNumber = Annotated[int, Field(ge=1, le=LARGEST_INT32)]
