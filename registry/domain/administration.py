"""Who may change or remove what others registered (ITI-57, 62 and 92)."""

from __future__ import annotations

from collections.abc import Collection

from shared.security.caller import Caller


def may_administer(caller: Caller, administrator_roles: Collection[str]) -> bool:
    """A node of the community, or a user in one of the roles, which are spelled `code^^scheme`."""
    if caller.community_node:
        return True
    return caller.user is not None and any(str(role) in administrator_roles for role in caller.user.roles)
