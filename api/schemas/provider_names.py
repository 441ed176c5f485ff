"""Types of request fields that name a provider of ``workflows.providers.registry``."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from workflows.providers.registry import remote_names, reporting_names

Names = Callable[[], list[str]]


def _one_of(names: Names) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in (known := names()):
            raise ValueError(f"Must be one of {', '.join(known)}")
        return str(value)

    return check


def _enumerate(names: Names) -> Callable[[dict[str, Any]], None]:
    def show(schema: dict[str, Any]) -> None:
        schema["enum"] = names()

    return show


reporting_provider = _one_of(reporting_names)
"""Return the name of a provider that issues statements. Raises ``ValueError`` for any other."""

StoreProvider = Annotated[str, AfterValidator(_one_of(remote_names)), Field(json_schema_extra=_enumerate(remote_names))]
StatementProvider = Annotated[
    str, AfterValidator(reporting_provider), Field(json_schema_extra=_enumerate(reporting_names))
]
