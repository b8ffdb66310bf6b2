"""What other nodes may do here."""

from __future__ import annotations

from pydantic import Field

from shared.settings.group import Group

_NODES = ["CN=pacs,O=Hospital North"]


class RightsSettings(Group):
    """Nodes beside those of the community, for each right: subject DNs (RFC 4514) or SHA-256 of
    certificates."""

    feed: tuple[str, ...] = Field(
        (),
        examples=[_NODES],
        description="nodes that feed patient identities (ITI-8, ITI-44), orders, reports and "
        "corrections of patients (RAD-12, RAD-13, RAD-128)",
    )
    submit: tuple[str, ...] = Field(
        (),
        examples=[_NODES],
        description="nodes that provide and register documents (ITI-41, RAD-68, ITI-42, ITI-61)",
    )
    update: tuple[str, ...] = Field(
        (),
        examples=[_NODES],
        description="nodes from which administrators change and remove (ITI-57, ITI-62, ITI-86, ITI-92)",
    )
    store: tuple[str, ...] = Field(
        (), examples=[_NODES], description="nodes that store instances (C-STORE, STOW-RS)"
    )
    reject: tuple[str, ...] = Field(
        (), examples=[_NODES], description="nodes whose rejection notes hide instances"
    )
    publish: tuple[str, ...] = Field(
        (),
        examples=[_NODES],
        description="nodes that publish, and have manifests made on demand (`/api` of source and repository)",
    )
    ask: tuple[str, ...] = Field(
        (),
        examples=[_NODES],
        description="nodes that query and retrieve for their users (ITI-18, ITI-43, ITI-51, RAD-69, WADO-RS, "
        "the consumer)",
    )
    policies: tuple[str, ...] = Field(
        (), examples=[_NODES], description="nodes that read consent policies, to decide by them"
    )
    consent: tuple[str, ...] = Field(
        (),
        examples=[_NODES],
        description="nodes that set, remove and explain consent policies, and submit consent documents "
        "(ITI-41, ITI-42)",
    )
    trail: tuple[str, ...] = Field((), examples=[_NODES], description="nodes that read the trail")
    record: tuple[str, ...] = Field(
        (), examples=[_NODES], description="nodes that send audit records (ITI-20)"
    )
    test: tuple[str, ...] = Field(
        (),
        examples=[_NODES],
        description="nodes at which people have systems tested by the conformance service, which then opens "
        "connections to what they name",
    )
