"""For whom an issuer may speak, of assertions and of tokens alike."""

from __future__ import annotations

from collections.abc import Mapping

from shared.faults import SecurityFault
from shared.security.caller import User
from shared.settings import VoiceSettings


class Voices:
    """Who may speak for whom: of an assertion, whether its issuer may say which home and organisations.

    `speaks_for` is by issuer. One that it does not name speaks for `home`, our own community. Which
    organisations those of our own community are need not be said: it may claim any that no other issuer is
    named for. One that speaks for other communities claims only those that it is named for.
    """

    def __init__(self, speaks_for: Mapping[str, VoiceSettings], home: str) -> None:
        self._home = _oid(home)
        self._communities = {
            issuer: frozenset(map(_oid, voice.communities)) for issuer, voice in speaks_for.items()
        }
        self._organizations = {
            issuer: frozenset(map(_oid, voice.organizations)) for issuer, voice in speaks_for.items()
        }
        self._named = {each for listed in self._organizations.values() for each in listed}

    def check(self, user: User) -> None:
        """Refuse what the issuer may not say.

        Raises
        ------
        SecurityFault
            InvalidSecurityToken; its detail, for the trail, says for whom the issuer may not speak.
        """
        communities = self._communities.get(user.issuer) or frozenset((self._home,))
        if user.home_community_id and _oid(user.home_community_id) not in communities:
            raise SecurityFault(
                "InvalidSecurityToken", "the issuer does not speak for the home community that is claimed"
            )
        claimed = set(map(_oid, user.organization_ids))
        ours = self._organizations.get(user.issuer, frozenset())
        listed = bool(ours) or communities != {self._home}
        if claimed - ours if listed else claimed & self._named:
            raise SecurityFault(
                "InvalidSecurityToken", "the issuer does not speak for an organisation that is claimed"
            )


def _oid(identifier: str) -> str:
    """An id as it is compared: an OID with or without `urn:oid:` is the same."""
    return identifier.strip().removeprefix("urn:oid:")
