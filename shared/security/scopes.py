"""What an access token is for: scopes by the number of a transaction (IUA) and in the manner of SMART.

A token passes where one of its scopes covers what is asked, of either vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from shared.faults import SecurityFault

#: The scope of interfaces of our own, which have no number.
OWN: Final = "xdsi"

_SMART = re.compile(r"(patient|user|system)/([A-Za-z]+|\*)\.([cruds]+|read|write|\*)")
_LETTERS: Final = {"read": "rs", "write": "cud", "*": "cruds"}
#: What transactions are to SMART: a resource and its interactions.
_RESOURCES: Final = {
    "ITI-20": ("AuditEvent", "c"),
    "ITI-81": ("AuditEvent", "rs"),
    "ITI-82": ("AuditEvent", "rs"),
    "RAD-55": ("ImagingStudy", "r"),
    "RAD-107": ("ImagingStudy", "r"),
    "RAD-108": ("ImagingStudy", "c"),
    "RAD-129": ("ImagingStudy", "s"),
}


class ScopeInsufficient(SecurityFault):
    """The token is genuine, and for something else than is asked; `scope` would do."""

    def __init__(self, scope: str) -> None:
        super().__init__("FailedAuthentication", f"the token has no scope that covers {scope}")
        self.reason = f"the access token is for something else; it needs the scope {scope}"
        self.scope = scope


@dataclass(frozen=True, slots=True)
class NeededScope:
    """What one transaction needs: `number` is its own, empty for an interface of ours."""

    number: str = ""

    @property
    def name(self) -> str:
        """The scope that covers it alone."""
        return self.number or OWN

    def check(self, granted: Collection[str], *, of_one_patient: bool) -> None:
        """Refuse a token with the scopes `granted`; `patient/` ones count for a token of one patient.

        Raises
        ------
        ScopeInsufficient
            None of them covers this.
        """
        if self.name not in granted and not any(self._is_covered(scope, of_one_patient) for scope in granted):
            raise ScopeInsufficient(self.name)

    def _is_covered(self, scope: str, of_one_patient: bool) -> bool:
        match, needed = _SMART.fullmatch(scope), _RESOURCES.get(self.number)
        if match is None or needed is None or (match[1] == "patient" and not of_one_patient):
            return False
        letters = _LETTERS.get(match[3], match[3])
        return match[2] in (needed[0], "*") and set(needed[1]) <= set(letters)


#: For an interface of our own.
OF_OUR_OWN: Final = NeededScope()
