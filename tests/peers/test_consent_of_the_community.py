"""Policies count from the registry of our own community alone, whomever else its authorities vouch for."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import pytest

from shared.consent.decision import Action, Resource
from shared.consent.directory import UNFETCHED
from shared.consent.policy import PatientPolicies, encode_patient_policies
from shared.consent.sources import open_consent
from shared.http.client import http_client
from shared.http.server import start_server
from shared.security.peer_certificate import fingerprint_of, subject_of
from shared.settings import ServiceSettings
from tests.support.consent import PATIENT, a_caller, permit
from xdsi.certificates import create_community, trust_each_other


@pytest.fixture(scope="module")
def communities(tmp_path_factory):
    """Ours and another, which trust each other's authorities as joined communities do."""
    folder = tmp_path_factory.mktemp("certificates")
    ours, theirs = (create_community(folder / name, name, ["127.0.0.1"]) for name in ("ours", "theirs"))
    trust_each_other(ours, theirs)
    return ours, theirs


async def permits_everything(scope, receive, send):
    """A registry which says that everybody may see everything."""
    asked = json.loads((await receive())["body"])
    body = encode_patient_policies(PatientPolicies(asked["patient_id"], (permit(),)))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def decisions_by_registry_of(community, ours, **changes):
    """What we decide when the registry's address is answered by a node of `community`."""
    server = await start_server(permits_everything, ServiceSettings.model_validate(community.settings()))
    url = f"https://127.0.0.1:{server.port}"
    settings = ServiceSettings.model_validate({**ours.settings(), "registry_url": url, **changes})
    async with http_client(settings.tls, peers=(url,)) as http:
        consent = open_consent(settings, http)
        yield await consent.decide(a_caller(), Action.RETRIEVE, (Resource(patient_id=PATIENT),))
        await consent.close()
    await server.stop(1)


async def test_the_registry_of_our_community_is_believed(communities):
    ours, _ = communities
    async with decisions_by_registry_of(ours, ours) as (decision,):
        assert decision.permitted


async def test_a_trusted_node_of_another_community_is_not_believed_as_the_registry(communities):
    ours, theirs = communities
    async with decisions_by_registry_of(theirs, ours) as (decision,):
        assert decision == UNFETCHED


@pytest.mark.parametrize("name_of", [subject_of, fingerprint_of])
async def test_a_node_that_is_named_as_one_of_ours_is_believed(communities, name_of):
    ours, theirs = communities
    named = (name_of(theirs.node.certificate),)
    async with decisions_by_registry_of(theirs, ours, community_nodes=named) as (decision,):
        assert decision.permitted
