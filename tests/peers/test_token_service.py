"""The identity service is a security token service (WS-Trust): a foreign client asks it for assertions,
xmlsec1 verifies them, and services take them."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import zeep
from lxml import etree
from lxml.builder import ElementMaker
from zeep.transports import Transport

import identity.app
from identity.settings import IdentitySettings
from shared.ebrim.model import Code
from shared.faults import WSSE, SoapFault
from shared.http.client import http_client
from shared.http.server import start_server
from shared.messages.ws_trust import ISSUE, ISSUE_TOKEN, JWT, SAML2, WST, SecurityTokenRequest
from shared.pages.visitors import token_of
from shared.security.authenticator import Authenticator
from shared.security.caller import Node
from shared.security.saml import Claims
from shared.settings import ServiceSettings, TlsSettings
from shared.soap.client import SoapClient
from shared.xml import NS
from tests.support.certificates import assertion_for, communities
from tests.support.identity import DR_ROE, ROLE, id_token, settings_of
from tests.support.metadata import PATIENT
from xdsi.stage import free_ports

NORTH, SOUTH = communities()
TREAT = Code("TREAT", "2.16.840.1.113883.5.8")
EMERGENCY = Code("BTG", "2.16.840.1.113883.5.8")
REGISTRY = "https://registry.example/xds/registry"
ROLES = (Code("RAD-PHYS", "2.999.40.1"),)


@asynccontextmanager
async def a_token_service(folder: Path, **changes: Any) -> AsyncIterator[tuple[str, Any]]:
    (port,) = free_ports(1)
    given = settings_of(folder, port=port, **changes)
    given["assertion"] = given["assertion"] | {"issuers": {SOUTH.issuer: str(SOUTH.provider.certificate)}}
    service = await identity.app.build(IdentitySettings.load(None, {}, **given))
    await service.start()
    server = await start_server(service.asgi, service.parts.settings, on_tls_failure=service.node_refused)
    base = f"http://127.0.0.1:{port}"
    try:
        async with http_client(TlsSettings(), peers=(base,)) as http:
            assert (await http.post(f"{base}/people/set", json=a_person())).status_code == 200
        yield f"{base}/trust", service
    finally:
        await server.stop(1.0)
        await service.stop()


def a_person(**changes: Any) -> dict[str, Any]:
    of_south = {"issuer": SOUTH.issuer, "subject": "dr.south"}
    return DR_ROE | {"logins": [*DR_ROE["logins"], of_south]} | changes


async def issued(url: str, request: SecurityTokenRequest, assertion: bytes | None = None) -> etree._Element:
    async with http_client(TlsSettings(), peers=(url,)) as http:
        client = SoapClient(http, assertion=lambda: assertion)
        response = await client.call(ISSUE_TOKEN, url, request)
    return etree.fromstring(response.assertion)


async def refusal(url: str, request: SecurityTokenRequest, assertion: bytes | None = None) -> str:
    with pytest.raises(SoapFault) as refused:
        await issued(url, request, assertion)
    assert refused.value.subcode is not None
    return refused.value.subcode[1]


def wish(token: str = "", **claims: Any) -> SecurityTokenRequest:
    return SecurityTokenRequest(claims=Claims(**claims), on_behalf_of=token)


def values(assertion: etree._Element, name: str) -> list[str]:
    (attribute,) = assertion.xpath(f"//saml:Attribute[@Name='{name}']", namespaces=dict(NS))
    return [
        value.text or value[0].get("code") for value in attribute.iterfind("saml:AttributeValue", dict(NS))
    ]


async def test_the_token_of_a_provider_becomes_the_assertion_that_was_asked_for(tmp_path: Path):
    async with a_token_service(tmp_path) as (url, service):
        request = SecurityTokenRequest(
            claims=Claims(
                roles=ROLES,
                purposes=(TREAT,),
                organization_ids=("urn:oid:2.999.7",),
                resource_ids=(PATIENT,),
            ),
            applies_to=REGISTRY,
            on_behalf_of=id_token(),
        )
        assertion = await issued(url, request)
        spool = service.parts.recorder.spool
        records = [event for _, event in await spool.reader("test").next(100)]

    caller = await Authenticator(
        ServiceSettings(assertion=NORTH.settings()["assertion"], public_url="https://registry.example")
    ).caller(
        Node(address="127.0.0.1"),
        door="ITI-18",
        endpoint=REGISTRY,
        bearer=token_of(etree.tostring(assertion)),
        speaker_is_user=True,
    )
    user = caller.user
    assert (user.name_id, user.subject_id, user.organization) == ("dr.roe", "Dr. Roe", "North Hospital")
    assert [str(role) for role in user.roles] == [ROLE]
    assert (user.organization_ids, user.resource_ids) == (("urn:oid:2.999.7",), (PATIENT,))
    assert [purpose.value for purpose in user.purposes] == ["TREAT"]
    assert any(b'csd-code="RST-Issue"' in one and b"dr.roe" in one for one in records)


async def test_an_assertion_of_another_issuer_becomes_one_of_ours_and_ours_is_not_renewed(tmp_path: Path):
    async with a_token_service(tmp_path) as (url, _):
        theirs = assertion_for("dr.south", SOUTH)
        own = await issued(url, wish(), theirs)
        again = etree.tostring(own)
        renewed = await refusal(url, wish(), again)
        unknown = await refusal(url, wish(), assertion_for("dr.who", SOUTH))
        both = await refusal(url, wish(id_token()), theirs)
        emergency = await refusal(url, wish(purposes=(EMERGENCY,)), theirs)
        nobody = await refusal(url, wish())

    assert own.findtext("saml:Subject/saml:NameID", namespaces=dict(NS)) == "dr.roe"
    # Our own issuer is not among those that are believed here, or its assertion is not taken for another.
    assert renewed in ("FailedAuthentication", "InvalidSecurityToken")
    assert (unknown, emergency) == ("FailedAuthentication", "FailedAuthentication")
    assert (both, nobody) == ("InvalidRequest", "InvalidRequest")


async def test_more_than_a_person_has_is_not_issued(tmp_path: Path):
    async with a_token_service(tmp_path) as (url, _):
        told = {
            "another role": await refusal(url, wish(id_token(), roles=(Code("CHIEF", "2.999.40.1"),))),
            "another scheme": await refusal(url, wish(id_token(), roles=(Code("RAD-PHYS", "2.999.9"),))),
            "another organisation": await refusal(
                url, wish(id_token(), organization_ids=("urn:oid:2.999.8",))
            ),
            "another purpose": await refusal(
                url, wish(id_token(), purposes=(Code("RESEARCH", TREAT.scheme),))
            ),
            "two purposes": await refusal(url, wish(id_token(), purposes=(TREAT, EMERGENCY))),
            "no patient id": await refusal(url, wish(id_token(), resource_ids=("P-1001",))),
            "no token": await refusal(url, wish("a.b.c")),
            "a token of nobody": await refusal(url, wish(id_token(sub="9999"))),
        }
        of_now = await issued(url, wish(id_token(), purposes=(EMERGENCY,)))
        old = await refusal(url, wish(id_token(auth_time=1_000_000_000), purposes=(EMERGENCY,)))

    assert told == {
        "another role": "RequestFailed",
        "another scheme": "RequestFailed",
        "another organisation": "RequestFailed",
        "another purpose": "RequestFailed",
        "two purposes": "InvalidRequest",
        "no patient id": "InvalidRequest",
        "no token": "FailedAuthentication",
        "a token of nobody": "FailedAuthentication",
    }
    assert values(of_now, "urn:oasis:names:tc:xspa:1.0:subject:purposeofuse") == ["BTG"]
    assert old == "FailedAuthentication"


# --- a foreign client -----------------------------------------------------------------------------------


def element_of(names: dict[str, str], **changes: str) -> list[etree._Element]:
    """What a request holds, made by hand as other senders do."""
    wst = ElementMaker(namespace=WST, nsmap={"t": WST})
    saml = ElementMaker(namespace=NS["saml"], nsmap={"s": NS["saml"]})
    role = etree.Element("{urn:hl7-org:v3}Role", code="RAD-PHYS", codeSystem="2.999.40.1")
    value = saml.AttributeValue()
    value.append(role)
    token = etree.Element(f"{{{WSSE}}}BinarySecurityToken", ValueType=JWT)
    token.text = names["token"]
    return [
        wst.TokenType(f"\n{SAML2}\n"),
        wst.RequestType(ISSUE),
        wst.OnBehalfOf(token),
        wst.Claims(
            saml.Attribute(value, Name="urn:oasis:names:tc:xacml:2.0:subject:role"),
            Dialect="http://www.bag.admin.ch/epr/2017/annex/5/amendment/2",
        ),
        *(wst(name, text) for name, text in changes.items()),
    ]


def asked_by_zeep(url: str, **changes: str) -> etree._Element:
    from base64 import b64encode

    client = zeep.Client(f"{url}?wsdl", transport=Transport(timeout=10))
    content = element_of({"token": b64encode(id_token().encode()).decode()}, **changes)
    with client.settings(raw_response=True):
        answer = client.service["SecurityTokenService_Issue"](_value_1=content, Context=uuid.uuid4().urn)
    client.transport.session.close()
    return etree.fromstring(answer.content)


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("xmlsec1") is None, reason="xmlsec1 is not here")
async def test_a_foreign_client_is_given_an_assertion_that_xmlsec1_verifies(tmp_path: Path):
    async with a_token_service(tmp_path) as (url, _):
        envelope = await asyncio.to_thread(asked_by_zeep, url)
        fault = await asyncio.to_thread(asked_by_zeep, url, Renewing="")
    (assertion,) = envelope.iter(f"{{{NS['saml']}}}Assertion")
    file = tmp_path / "assertion.xml"
    file.write_bytes(etree.tostring(assertion, with_tail=False))
    command = [
        *("xmlsec1", "--verify", "--id-attr:ID", f"{NS['saml']}:Assertion"),
        *("--enabled-key-data", "x509", "--trusted-pem", str(NORTH.provider.certificate), str(file)),
    ]
    verified = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
    file.write_bytes(file.read_bytes().replace(b"dr.roe", b"dr.doe"))
    changed = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)

    assert verified.returncode == 0, verified.stderr
    assert changed.returncode != 0
    assert values(assertion, "urn:oasis:names:tc:xacml:2.0:subject:role") == ["RAD-PHYS"]
    assert envelope.xpath("string(//*[local-name()='Expires'])")
    assert "an element is not understood here" in etree.tostring(fault).decode()
