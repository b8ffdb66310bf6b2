"""Every plan that there is."""

from __future__ import annotations

from collections.abc import Iterator

from conformance.plans import gateway, imaging_source, registry, repository
from conformance.plans.probe import Plan, Probe

PLANS: tuple[Plan, ...] = (registry.PLAN, repository.PLAN, imaging_source.PLAN, gateway.PLAN)


def probes() -> Iterator[Probe]:
    """Every probe, by actor."""
    for plan in PLANS:
        yield from plan
