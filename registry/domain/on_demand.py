"""The rules of a registration of On-Demand entries (ITI TF-2 3.61.4.1.3; ITI TF-3 table 4.2.3.2-1)."""

from __future__ import annotations

from collections.abc import Iterator

from registry.domain.submission import COMMON_RULES, SubmissionIndex, wrong_association, wrong_attribute
from shared.ebrim import schemes
from shared.ebrim.model import AssociationType
from shared.errors import XdsError


def on_demand_types(message: SubmissionIndex) -> Iterator[XdsError]:
    """ITI-61 registers On-Demand entries (Stable ones come by ITI-42)."""
    for entry in message.entries.values():
        if entry.object_type != schemes.ON_DEMAND:
            yield wrong_attribute(entry, "objectType", f"objectType must be {schemes.ON_DEMAND} (On-Demand)")


def unknown_content(message: SubmissionIndex) -> Iterator[XdsError]:
    """Of a document that is made when it is asked for nobody knows creation time, hash and size."""
    for entry in message.entries.values():
        content = {
            "creationTime": entry.creation_time is not None,
            "hash": bool(entry.hash),
            "size": entry.size is not None,
        }
        for name, present in content.items():
            if present:
                yield wrong_attribute(entry, name, f"{name} has no place in an On-Demand entry; leave it out")
        if not entry.repository_unique_id:
            yield wrong_attribute(
                entry, "repositoryUniqueId", "repositoryUniqueId is missing; the source must give its own"
            )


def no_snapshots(message: SubmissionIndex) -> Iterator[XdsError]:
    """A snapshot is Stable, so that it is registered by ITI-42."""
    for item in message.relationships:
        if item.association_type == AssociationType.IS_SNAPSHOT_OF:
            yield wrong_association(item, "a snapshot is a Stable entry, which is registered by ITI-42")


ON_DEMAND_RULES = (on_demand_types, unknown_content, *COMMON_RULES, no_snapshots)
