"""Policies count from the registry of our own community alone, whomever else its authorities vouch for."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager, nullcontext

import httpx2
import pytest

from gateway.settings import GatewaySettings
from gateway.unit import Parts
from shared.audit.recorder import AuditRecorder
from shared.consent.decision import Action, Resource
from shared.consent.directory import UNFETCHED
from shared.consent.policy import PatientPolicies, encode_patient_policies
from shared.consent.sources import open_consent
from shared.http.client import http_client
from shared.http.server import start_server
from shared.security import own_registry
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


#: The patients that an answering node was asked about.
heard: list[str] = []


async def permits_everything(scope, receive, send):
    """A registry which says that everybody may see everything."""
    asked = json.loads((await receive())["body"])
    heard.append(asked["patient_id"])
    body = encode_patient_policies(PatientPolicies(asked["patient_id"], (permit(),)))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def decisions_by_registry_of(community, ours, **changes):
    """What we decide when the registry's address is answered by a node of `community`."""
    server = await start_server(permits_everything, ServiceSettings.model_validate(community.settings()))
    url = f"https://127.0.0.1:{server.port}"
    settings = ServiceSettings.model_validate({**ours.settings(), "registry_url": url, **changes})
    async with http_client(settings.tls, peers=(url,), known=own_registry.known(settings)) as http:
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
    heard.clear()
    async with decisions_by_registry_of(theirs, ours) as (decision,):
        assert decision == UNFETCHED
    assert heard == [], "nothing is said to it either"


async def test_nor_as_an_actor_of_our_community_by_the_gateway(communities, tmp_path):
    ours, theirs = communities
    server = await start_server(permits_everything, ServiceSettings.model_validate(theirs.settings()))
    url = f"https://127.0.0.1:{server.port}"
    name = fingerprint_of(theirs.node.certificate)
    believed = {"registry_url": url, "community_nodes": [name]}
    far = {"communities": {"urn:oid:2.999.72": url}}
    for changes, may_answer in (
        ({"registry_url": url}, False),
        ({"repositories": {"1.2.3": url}}, False),
        (believed, True),
        (far, True),
        ({**far, "responding_gateways": {"urn:oid:2.999.72": name}}, True),
        ({**far, "responding_gateways": {"urn:oid:2.999.72": subject_of(ours.node.certificate)}}, False),
    ):
        settings = GatewaySettings.load(None, {}, **ours.settings(), data=tmp_path, **changes)
        parts = Parts.of(settings, AuditRecorder(settings, "gateway"))
        for http in (parts.queries, parts.retrievals):
            heard.clear()
            with nullcontext() if may_answer else pytest.raises(httpx2.ConnectError):
                assert (await http.post(url, json={"patient_id": PATIENT})).status_code == 200
            assert heard == [PATIENT] * may_answer
            await http.aclose()
        await parts.recorder.close()
    await server.stop(1)


@pytest.mark.parametrize("name_of", [subject_of, fingerprint_of])
async def test_a_node_that_is_named_as_one_of_ours_is_believed(communities, name_of):
    ours, theirs = communities
    named = (name_of(theirs.node.certificate),)
    async with decisions_by_registry_of(theirs, ours, community_nodes=named) as (decision,):
        assert decision.permitted
