"""The trail is asked over HTTP: what is found, who may ask, and that asking is itself recorded."""

from __future__ import annotations

import pytest

from audit_repository.domain.record import record_of
from shared.audit.events import Outcome
from shared.security.caller import Node
from shared.security.peer_certificate import fingerprint_of
from shared.settings import TlsSettings
from tests.support.audit import PATIENT, SOURCES
from tests.support.certificates import communities
from tests.transactions.audit_repository.served import NOW, a_record, asked


async def search(http, **wanted):
    response = await http.post("/api/search", json=wanted)
    assert response.status_code == 200, response.text
    return response.json()["records"]


async def test_a_record_is_shown_with_what_it_says(tmp_path):
    async with asked(tmp_path) as (service, http):
        await service.trail.append([a_record(outcome=Outcome.SERIOUS_FAILURE, outcome_description="refused")])

        (shown,) = await search(http, patient=PATIENT)

        assert shown["event"]["code"] == "110112"
        assert [code["code"] for code in shown["types"]] == ["ITI-18"]
        assert (shown["outcome"], shown["description"]) == (8, "refused")
        assert shown["patients"] == [PATIENT]
        assert [user["name_id"] for user in shown["participants"] if user["requestor"]] == ["u-778"]
        (query,) = shown["objects"]
        assert query["query"] == "<query:AdhocQueryRequest/>"
        assert query["details"] == {"QueryEncoding": "UTF-8"}
        assert (shown["source"], shown["peer"]) == ("xdsi-test", "192.0.2.17")
        assert (shown["subject"], shown["fingerprint"]) == ("CN=n", "ab" * 32)
        assert shown["standing"] == "proved"


@pytest.mark.parametrize(
    ("node", "number"),
    [
        ("CN=n", 1),
        (" CN=n ", 1),
        ("ab" * 32, 1),
        (":".join(["AB"] * 32), 1),
        ("192.0.2.17", 1),
        ("CN=other", 0),
        ("cd" * 32, 0),
        ("192.0.2.18", 0),
        ("no DN at all", 0),
    ],
)
async def test_records_are_found_by_any_name_of_the_node_that_delivered_them(tmp_path, node, number):
    async with asked(tmp_path) as (service, http):
        await service.trail.append([a_record()])

        assert len(await search(http, node=node)) == number


async def test_a_record_that_could_not_be_read_is_shown_with_the_reason_and_its_octets(tmp_path):
    async with asked(tmp_path) as (service, http):
        await service.trail.append(
            [record_of(b"what \xff", node=Node(address="p"), received=NOW, sources=SOURCES)]
        )

        (shown,) = await search(http, unparsed=True)
        raw = (await http.get(f"/api/records/{shown['sequence']}/raw")).json()

        assert "RFC 5424" in shown["reason"]
        assert raw["raw"] == "what \\xff"
        assert (await http.get("/api/records/4711/raw")).status_code == 404


async def test_pages_follow_each_other_without_gap(tmp_path):
    async with asked(tmp_path) as (service, http):
        await service.trail.append([a_record() for _ in range(7)])
        seen, before = [], None
        while True:
            page = {"type": "ITI-18", "limit": 3} | ({"before": before} if before else {})
            answer = (await http.post("/api/search", json=page)).json()
            if not answer["records"]:
                break
            seen += [record["sequence"] for record in answer["records"]]
            before = answer["before"]

        assert len(seen) == 7
        assert seen == sorted(seen, reverse=True)


async def test_every_use_is_recorded_before_the_answer(tmp_path):
    async with asked(tmp_path) as (_, http):
        await search(http, patient=PATIENT)
        await http.post("/api/verify")

        used = await search(http, type="110101")

        assert len(used) == 3
        (log,) = used[-1]["objects"]
        assert log["id"] == "http://audit.example:8050/api/search"
        assert log["name"] == "Security Audit Log"


async def test_a_trail_that_is_whole_verifies(tmp_path):
    async with asked(tmp_path) as (service, http):
        await service.trail.append([a_record() for _ in range(3)])

        report = (await http.post("/api/verify")).json()

        assert report["problems"] == []
        assert report["records"] == 5


async def test_without_tls_another_machine_is_refused(tmp_path):
    async with asked(tmp_path, client="192.0.2.9") as (_, http):
        assert (await http.post("/api/search", json={})).status_code == 403


def tls_of(community):
    return TlsSettings(certificate=community.node.certificate, key=community.node.key, trust=community.trust)


def der_of(community) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    certificate = x509.load_pem_x509_certificate(community.node.certificate.read_bytes())
    return certificate.public_bytes(Encoding.DER)


async def test_with_tls_nodes_of_the_community_may_ask_and_those_that_are_named(tmp_path):
    north, south = communities()
    for folder, certificate, status in (
        ("own", der_of(north), 200),
        ("other", der_of(south), 403),
        ("named", der_of(south), 200),
        ("none", None, 401),
    ):
        rights = {"trail": (fingerprint_of(south.node.certificate),)} if folder == "named" else {}
        settings = {"tls": tls_of(north), "rights": rights}
        async with asked(tmp_path / folder, certificate=certificate, **settings) as (service, http):
            await service.trail.append([a_record()])
            for path in ("/api/search", "/api/verify"):
                response = await http.post(path, json={})
                assert response.status_code == status
                assert (PATIENT in response.text) == (status == 200 and path == "/api/search")
            assert (await http.get("/api/records/1/raw")).status_code == status


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"{", 400, "Invalid JSON"),
        (b'{"nonsense": 1}', 400, "a member is not known; known are patient"),
        (b'{"limit": 100000}', 400, "limit"),
        (b'{"outcome": "maybe"}', 400, "outcome"),
        (b'{"since": "2030-01-01T00:00:00"}', 400, "since"),
        (b'{"patient": "' + b"x" * 70_000 + b'"}', 413, "longer"),
    ],
)
async def test_a_search_that_makes_no_sense_is_told_what_is_wrong(tmp_path, body, status, says):
    async with asked(tmp_path) as (_, http):
        response = await http.post("/api/search", content=body, headers={"content-type": "application/json"})

        assert response.status_code == status
        assert says in response.text


async def test_the_service_says_when_it_is_ready(tmp_path):
    async with asked(tmp_path) as (service, http):
        assert (await http.get("/health/ready")).status_code == 200
        assert "xdsi_audit_records" in (await http.get("/metrics")).text
        await service.syslog.stop()
        assert (await http.get("/health/ready")).status_code == 503
