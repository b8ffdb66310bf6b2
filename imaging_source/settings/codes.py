"""Codes as settings."""

from __future__ import annotations

from pydantic import Field

from shared.ebrim.model import Code
from shared.settings import Group


class CodeSetting(Group):
    """A code with its scheme and name."""

    value: str = Field(min_length=1, description="the code")
    scheme: str = Field(min_length=1, description="its coding scheme, an OID")
    display_name: str = Field(min_length=1, description="what it means")

    @property
    def code(self) -> Code:
        """The code as metadata has it."""
        return Code(self.value, self.scheme, self.display_name)


def code_setting(value: str, scheme: str, display_name: str) -> CodeSetting:
    """A code as a default."""
    return CodeSetting(value=value, scheme=scheme, display_name=display_name)
