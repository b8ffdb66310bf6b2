"""The register of nodes, and what stands in the settings beside it and gives nobody anything."""

from __future__ import annotations

from collections.abc import Iterator

from shared.security.nodes import RegisterError, read_register
from shared.security.rights import Right
from shared.settings import ServiceSettings
from xdsi.checks.finding import Finding, doubtful, well


def nodes(settings: ServiceSettings) -> Iterator[Finding]:
    """Whether nodes are registered, and whether settings name others."""
    if not settings.tls.enabled:
        return
    if settings.nodes is None:
        yield well("nodes", "XDSI_NODES", "no register of nodes: settings alone say which node may do what")
        return
    try:
        register = read_register(settings.nodes)
    except RegisterError:
        return  # told by what refuses to start
    if not register:
        yield doubtful(
            "nodes",
            "XDSI_NODES",
            f"no node is registered in {settings.nodes}: the settings alone say which node may do what",
            "register the nodes (xdsi node add), or remove the setting",
        )
        return
    revoked = sum(one.revoked is not None for one in register.nodes)
    yield well("nodes", "XDSI_NODES", f"{len(register.nodes)} nodes registered, {revoked} revoked")
    for setting in _idle(settings):
        yield doubtful(
            "nodes",
            setting,
            "gives no node anything, since nodes are registered",
            f"register those nodes (xdsi node add), and remove {setting}",
        )


def _idle(settings: ServiceSettings) -> Iterator[str]:
    """The settings that name nodes and are not asked."""
    if settings.community_nodes:
        yield "XDSI_COMMUNITY_NODES"
    for right in Right:
        if settings.named_nodes(right):
            yield right.setting
