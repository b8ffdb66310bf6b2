"""Groups of settings, and settings that are never shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

#: What is shown in place of a secret.
HIDDEN = "***"


def secret(
    description: str, *, default: Any = None, examples: list[Any] | None = None, otherwise: str = ""
) -> Any:
    """A setting that is never shown, and may stand in a file of its own."""
    extra: dict[str, Any] = {"secret": True, "otherwise": otherwise}
    return Field(default, description=description, examples=examples, json_schema_extra=extra)


def derived(description: str, *, otherwise: str, examples: list[Any] | None = None, **bounds: Any) -> Any:
    """A setting that follows from others when it is not given; `otherwise` says how."""
    extra: dict[str, Any] = {"otherwise": otherwise}
    return Field(None, description=description, examples=examples, json_schema_extra=extra, **bounds)


def is_secret(settings_class: type[BaseModel], name: str) -> bool:
    """Whether the setting `name` of the class is made by `secret`."""
    field = settings_class.model_fields.get(name)
    extra = None if field is None else field.json_schema_extra
    return isinstance(extra, dict) and extra.get("secret") is True


class Hiding(BaseModel):
    """Settings which show no secret, however they are printed."""

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, HIDDEN if name and value and is_secret(type(self), name) else value


class Group(Hiding):
    """A group of settings, `XDSI_GROUP__NAME`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
