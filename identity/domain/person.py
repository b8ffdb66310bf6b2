"""A person of the community, and by which sign-ins the person is known."""

from __future__ import annotations

from dataclasses import dataclass

from shared.ebrim.model import Code


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A name at a provider (`iss` and `sub` of its ID tokens)."""

    issuer: str
    subject: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who somebody is to the community; `name` is what assertions call the person.

    `roles` are codes with their OID as scheme. `patient_id` is the CX of a person who is a patient.
    """

    name: str
    display_name: str = ""
    roles: tuple[Code, ...] = ()
    organization: str = ""
    organization_ids: tuple[str, ...] = ()
    patient_id: str = ""
    logins: tuple[Login, ...] = ()
    disabled: bool = False


def code_of(text: str) -> Code:
    """`code^^scheme` as a code."""
    value, _, scheme = text.partition("^^")
    return Code(value, scheme)
