"""Who asks: the user for whom a consumer works."""

from __future__ import annotations

from dataclasses import dataclass, field

from shared.ebrim.model import Code
from shared.security.caller import User

TREATMENT = Code("TREAT", "2.16.840.1.113883.5.8", "treatment")


@dataclass(frozen=True, slots=True, kw_only=True)
class Clinician:
    """What is said of the user in assertions and in the trail.

    `name_id` is the login; `organization_ids` are URIs such as `urn:oid:…`.
    """

    name_id: str
    roles: tuple[Code, ...] = ()
    purposes: tuple[Code, ...] = field(default=(TREATMENT,))
    organization: str = ""
    organization_ids: tuple[str, ...] = ()

    def as_user(self, issuer: str) -> User:
        """The user as a server reads it from the assertion."""
        return User(
            name_id=self.name_id,
            issuer=issuer,
            assertion_id="",
            organization=self.organization,
            organization_ids=self.organization_ids,
            roles=self.roles,
            purposes=self.purposes,
        )
