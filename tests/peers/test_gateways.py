"""A clinician of one community sees images of another: gateways, mutual TLS, assertions, consent, trail.

The West is a whole stage with a gateway of the community; in the East there is Hospital South with a registry
and a gateway of its own. A foreign client reads what both gateways publish.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import zeep

from consumer.imaging_document_consumer import ImagingDocumentConsumer, open_consumer
from consumer.settings import ConsumerSettings
from shared.errors import Actor, Rejected
from shared.http.client import http_client
from shared.messages.iti18 import ITI18
from shared.messages.iti38 import ITI38
from shared.messages.iti39 import ITI39
from shared.messages.iti43 import RetrieveDocumentSetRequest
from shared.security.peer_certificate import subject_of
from tests.support.community import (
    CLERK,
    RADIOLOGIST,
    SOUTH,
    StudyFiles,
    assertion_of,
    audit_messages,
    cx,
    different,
    envelope_in,
    make_known,
    permit,
    post,
    publish,
    started,
    store,
    studies_in,
)
from tests.support.gateway import a_query, at
from tests.support.trail import told
from xdsi.builtin_study import PATIENT_ID, write_study
from xdsi.certificates import Community
from xdsi.community import Process, processes, start_all, stop_all
from xdsi.services import Service
from xdsi.stage import Stage, free_ports, write_toml

pytestmark = [pytest.mark.heavy, pytest.mark.peer]

EAST, WEST = "urn:oid:2.999.71", "urn:oid:2.999.72"
#: The East's, as every service of the West believes it: for the East and its hospital alone.
PROVIDER = "urn:xdsi:assertion-provider:south"
SOAP = "{http://www.w3.org/2003/05/soap-envelope}"


class Joined:
    """The stage in the West, and what is in the East."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.stage = stage
        registry, responding, initiating, feed = free_ports(4)
        self.responding = f"https://127.0.0.1:{responding}/xca/responding"
        self.initiating = f"https://127.0.0.1:{initiating}/xca/initiating"
        own = {name: value for name, value in os.environ.items() if not name.startswith("XDSI_")}
        west = stage.settings(stage.community) | {
            "home_community_id": WEST,
            "gateway": {
                "port": responding,
                "community_gateways": {EAST: subject_of(stage.south.node.certificate)},
            },
        }
        self.east = stage.settings(stage.south) | {
            "home_community_id": EAST,
            "registry_url": f"https://127.0.0.1:{registry}/xds/registry",
            "registry": {"port": registry, "mllp_port": feed},
            "gateway_url": self.initiating,
            "gateway": {
                "port": initiating,
                "communities": {WEST: self.responding},
                "responding_gateways": {WEST: subject_of(stage.community.node.certificate)},
            },
        }
        self.members: list[Process] = [
            *processes(
                (Service.GATEWAY,), own, folder / "west", config=write_toml(folder / "west.toml", west)
            ),
            *processes(
                (Service.REGISTRY, Service.GATEWAY),
                own,
                folder / "east",
                config=write_toml(folder / "east.toml", self.east),
            ),
        ]

    def consumer(self, clinician: Any) -> Any:
        """A consumer of the East."""
        return open_consumer(ConsumerSettings.load(None, {}, **self.east), clinician)

    def http(self, who: Community) -> Any:
        """An HTTP client with the certificate of `who` for both gateways."""
        tls = self.stage.load(ConsumerSettings, who).tls
        return http_client(tls, peers=(self.initiating, self.responding))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyFiles:
    folder = tmp_path_factory.mktemp("study")
    write_study(folder)
    (study,) = studies_in(folder)
    return study


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory, study: StudyFiles) -> Iterator[Joined]:
    folder = tmp_path_factory.mktemp("joined")
    with ExitStack() as stack:
        changes = {"assertion": {"speaks_for": {PROVIDER: {"communities": [EAST], "organizations": [SOUTH]}}}}
        stage = stack.enter_context(started(Stage(folder / "stage", changes=changes)))
        assert stage.south.issuer == PROVIDER
        made = Joined(stage, folder)
        try:
            for _ in start_all(made.members):
                pass
            asyncio.run(_published(stage, study))
            yield made
        finally:
            statuses = stop_all(made.members)
        assert statuses == [0, 0, 0], [member.last_words() for member in made.members]


async def _published(stage: Stage, study: StudyFiles) -> None:
    await make_known(stage, study.patient)
    await store(stage, [study])
    await publish(stage, study.uid)
    await permit(stage, study.patient)


async def fetched(consumer: ImagingDocumentConsumer, study: StudyFiles, folder: Path) -> list[str]:
    """Find and fetch the study; what is missing or different."""
    (entry,) = await consumer.find(study.patient_id)
    assert entry.home_community_id == WEST
    manifest = await consumer.manifest(entry)
    result = await consumer.retrieve(
        manifest, folder, patient_id=entry.patient_id, home_community_id=entry.home_community_id
    )
    assert result.complete, result.missing
    return different(folder, [study])


async def test_a_permitted_clinician_of_the_east_fetches_the_images_of_the_west(
    joined: Joined, study: StudyFiles, tmp_path: Path
):
    async with joined.consumer(RADIOLOGIST) as consumer:
        assert await fetched(consumer, study, tmp_path) == []


async def test_a_refused_one_sees_nothing_and_the_trail_of_the_west_says_why(
    joined: Joined, study: StudyFiles, tmp_path: Path
):
    async with joined.consumer(RADIOLOGIST) as permitted:
        (entry,) = await permitted.find(study.patient_id)
    async with joined.consumer(CLERK) as consumer:
        assert await consumer.find(study.patient_id) == ()
        with pytest.raises(Rejected) as caught:
            await consumer.manifest(entry)

    (error,) = caught.value.errors
    assert (error.code_for(Actor.REPOSITORY), error.location) == ("XDSDocumentUniqueIdError", WEST)

    async def refusals() -> list[Any]:
        return [
            one
            for one in map(told, audit_messages(joined.stage))
            if one.reporter == "xdsi-repository"
            and one.outcome == 8
            and any("clerk" in who for who in one.humans)
        ]

    async with asyncio.timeout(20):
        while not (found := await refusals()):  # noqa: ASYNC110  # records travel after what they tell of
            await asyncio.sleep(0.1)
    assert found[0].patients == {cx(PATIENT_ID)}


async def test_every_step_stands_in_the_trail_for_the_human_who_wanted_it(
    joined: Joined, study: StudyFiles, tmp_path: Path
):
    async with joined.consumer(RADIOLOGIST) as consumer:
        await fetched(consumer, study, tmp_path)

    def steps() -> set[tuple[str, str, int]]:
        return {
            (one.types[0], one.action, one.outcome)
            for one in map(told, audit_messages(joined.stage))
            if one.reporter == "xdsi-gateway" and any("dr.south" in who for who in one.humans)
        }

    wanted = {
        *((number, "E", 0) for number in ("ITI-18", "ITI-38")),
        *((number, action, 0) for number in ("ITI-43", "ITI-39") for action in "RC"),
        *((number, "R", 0) for number in ("RAD-69", "RAD-75")),
    }
    async with asyncio.timeout(20):
        while not wanted <= steps():  # noqa: ASYNC110  # records travel after what they tell of
            await asyncio.sleep(0.1)


async def test_nobody_asks_across_communities_without_being_known(joined: Joined):
    stage = joined.stage
    request = RetrieveDocumentSetRequest(documents=(at(WEST, "1.2.3"),))
    cases = (
        # Its node is trusted, and not the gateway of a community.
        (stage.north, assertion_of(stage), "FailedAuthentication"),
        # A gateway speaks for users, never for itself.
        (stage.south, None, "InvalidSecurity"),
        # And for users of its own community alone.
        (stage.south, assertion_of(stage, home_community_id="urn:oid:2.999.99"), "InvalidSecurityToken"),
        # Its provider speaks for neither our own, nor for the organisations of others.
        (stage.south, assertion_of(stage, home_community_id=WEST), "InvalidSecurityToken"),
        (stage.south, assertion_of(stage, organization_ids=("urn:oid:2.999.9",)), "InvalidSecurityToken"),
        # Whom nobody changed on the way.
        (stage.south, assertion_of(stage).replace(b"dr.south", b"dr.north"), "FailedCheck"),
    )

    for who, assertion, subcode in cases:
        async with joined.http(who) as http:
            for transaction, asked in ((ITI38, a_query(home=WEST)), (ITI39, request)):
                answer = await post(http, transaction, joined.responding, asked, assertion=assertion)
                codes = [code.text for code in envelope_in(answer).iter(f"{SOAP}Value")]
                assert codes[-1].endswith(subcode), (who.name, codes)


async def test_the_gateway_of_another_community_does_not_ask_at_the_side_for_consumers(joined: Joined):
    url = joined.responding.replace("/responding", "/initiating")

    async with joined.http(joined.stage.south) as http:
        answer = await post(http, ITI18, url, a_query(), assertion=assertion_of(joined.stage))

    codes = [code.text for code in envelope_in(answer).iter(f"{SOAP}Value")]
    assert codes[-1].endswith("FailedAuthentication")


async def test_a_foreign_client_finds_every_transaction_at_both_gateways(joined: Joined, tmp_path: Path):
    found = {}
    async with joined.http(joined.stage.south) as http:
        for url in (joined.initiating, joined.responding):
            side = url.rpartition("/")[2]
            path = tmp_path / f"{side}.wsdl"
            path.write_bytes((await http.get(f"{url}?wsdl")).content)
            client = await asyncio.to_thread(zeep.Client, str(path))
            client.transport.session.close()
            (service,) = client.wsdl.services.values()
            (port,) = service.ports.values()
            assert port.binding_options["address"] == url
            actions = [operation.abstract.wsa_action for operation in port.binding.all().values()]
            found[side] = sorted(action.rpartition(":")[2] for action in actions)

    assert found == {
        "initiating": ["RegistryStoredQuery", "RetrieveDocumentSet", "RetrieveImagingDocumentSet"],
        "responding": [
            "CrossGatewayQuery",
            "CrossGatewayRetrieve",
            "CrossGatewayRetrieveImagingDocumentSet",
        ],
    }
