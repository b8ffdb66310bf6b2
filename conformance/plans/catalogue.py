"""Every plan that there is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from conformance.plans import audit_repository, gateway, repository
from conformance.plans.consumer import front, pages, retrieving
from conformance.plans.imaging_source import (
    commitment,
    department,
    manifest,
    moving,
    qido_rs,
    query,
    retrieve,
    storage,
    stow_rs,
    wado_rs,
    wado_uri,
    web_commitment,
)
from conformance.plans.probe import Plan, Probe
from conformance.plans.registry import (
    identity_feed,
    register_document_set,
    relationships,
    remove_metadata,
    stored_query,
    update_metadata,
)
from conformance.plans.xua import provider

PLANS: tuple[Plan, ...] = (
    register_document_set.PLAN,
    relationships.PLAN,
    stored_query.PLAN,
    identity_feed.PLAN,
    remove_metadata.PLAN,
    update_metadata.PLAN,
    repository.PLAN,
    retrieve.PLAN,
    wado_rs.PLAN,
    qido_rs.PLAN,
    stow_rs.PLAN,
    wado_uri.PLAN,
    storage.PLAN,
    query.PLAN,
    moving.PLAN,
    commitment.PLAN,
    web_commitment.PLAN,
    manifest.PLAN,
    department.PLAN,
    gateway.PLAN,
    audit_repository.PLAN,
    provider.PLAN,
    retrieving.PLAN,
    front.PLAN,
    pages.PLAN,
)


#: National packs: the name, and what it holds.
PACKS: Mapping[str, str] = {
    "swiss": "CH:XUA, and CH:ATC for searches of the trail, of the Swiss patient record"
}


def probes() -> Iterator[Probe]:
    """Every probe, by actor."""
    for plan in PLANS:
        yield from plan
