"""Options by which commands say for which user they work."""

from __future__ import annotations

from typing import Annotated

import typer

from consumer.domain.clinician import TREATMENT, Clinician
from shared.ebrim.model import Code
from xdsi.failures import WrongUsage

User = Annotated[str | None, typer.Option(help="Login of the user; without it the node speaks for itself.")]
Role = Annotated[
    list[str], typer.Option(help="Role of the user as CODE^^SCHEME or CODE^NAME^SCHEME; may be repeated.")
]
Purpose = Annotated[str, typer.Option(help="Purpose of use as CODE^^SCHEME or a code of HL7 ActReason.")]
Organization = Annotated[list[str], typer.Option(help="Organisation (urn:oid:…); may be repeated.")]

_ACT_REASON = TREATMENT.scheme


def clinician_of(
    user: str | None, roles: list[str], purpose: str, organizations: list[str]
) -> Clinician | None:
    """The user whom the options name.

    Raises
    ------
    WrongUsage
        A role or purpose is not written as the help says.
    """
    if user is None:
        return None
    return Clinician(
        name_id=user,
        roles=tuple(_code(role, "") for role in roles),
        purposes=(_code(purpose, _ACT_REASON),),
        organization_ids=tuple(organizations),
    )


def _code(text: str, scheme: str) -> Code:
    value, _, rest = text.partition("^")
    display, _, own_scheme = rest.partition("^")
    if not value or not (own_scheme or scheme):
        raise WrongUsage(f"{text!r} is not a code; write CODE^^SCHEME, for example RAD-PHYS^^1.2.3")
    return Code(value, own_scheme or scheme, display)
