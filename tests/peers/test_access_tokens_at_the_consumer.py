"""Who brings an access token (ITI-72) to the consumer is the same user to everybody behind it as with an
assertion: the identity service exchanges the one for the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

import identity.app
from consumer.imaging_document_consumer import ImagingDocumentConsumer
from consumer.transactions.bearer import authorization
from identity.settings import IdentitySettings
from shared.http.client import http_client
from shared.http.server import start_server
from shared.security.authenticator import Authenticator
from shared.security.caller import Node
from shared.security.possession import BoundToken, SentToken
from shared.security.proving import ProvingKey
from shared.settings import ServiceSettings, SettingsError, TlsSettings
from shared.soap.client import PeerError
from tests.support.certificates import communities
from tests.support.consumer import Desk, desk
from tests.support.identity import DR_ROE, id_token, settings_of
from tests.support.tokens import a_token
from xdsi.stage import free_ports

KIND = "urn:ietf:params:oauth:token-type:"
PATIENT = "P-1001^^^&1.3.6.1.4.1.21367.2005.13.20.1000&ISO"
SOURCE = "http://127.0.0.1:8030/dicomweb/studies"
OTHER = "P-2002^^^&1.3.6.1.4.1.21367.2005.13.20.1000&ISO"


class House:
    """An identity service on a port, and a consumer that believes its tokens."""

    def __init__(self, desk: Desk, http: httpx2.AsyncClient, url: str) -> None:
        self.desk, self.http, self.url = desk, http, url

    async def token(self, scope: str = "xdsi RAD-129", *, key: ProvingKey | None = None, **more: str) -> str:
        """An access token of Dr. Roe, who signed in, bound to a key where there is one."""
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": id_token(),
            "subject_token_type": f"{KIND}id_token",
            "requested_token_type": f"{KIND}jwt",
            "scope": scope,
            **more,
        }
        endpoint = f"{self.url}/token"
        headers = {"dpop": key.proof("POST", endpoint)} if key else {}
        return str((await self.http.post(endpoint, data=form, headers=headers)).json()["access_token"])

    async def asked(self, token: str, patient: str = PATIENT) -> httpx2.Response:
        async with self.desk.client() as program:
            return await program.post(
                "/api/studies",
                json={"patient_id": patient},
                headers={"authorization": f"Bearer {token}"},
            )

    async def viewed(self, token: str) -> httpx2.Response:
        async with self.desk.client() as viewer:
            return await viewer.get(
                "/dicomweb/studies",
                params={"PatientID": "P-1001"},
                headers={"authorization": f"Bearer {token}"},
            )


@asynccontextmanager
async def house(folder: Path, **changes: Any) -> AsyncIterator[House]:
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    (folder / "identity").mkdir()
    given = settings_of(folder / "identity", port=port)
    service = await identity.app.build(IdentitySettings.load(None, {}, **given))
    await service.start()
    server = await start_server(service.asgi, service.parts.settings)
    believed = {"token": {"issuers": {url: f"{url}/jwks"}}, "sign_in": {"exchange_url": f"{url}/token"}}
    try:
        async with (
            http_client(TlsSettings(), peers=(url,)) as http,
            desk(folder, **(believed | changes)) as one,
        ):
            assert (await http.post(f"{url}/people/set", json=DR_ROE)).status_code == 200
            yield House(one, http, url)
    finally:
        await server.stop(1.0)
        await service.stop()


async def test_interface_and_front_take_an_access_token_and_pass_an_assertion_on(tmp_path: Path):
    async with house(tmp_path) as at:
        token = await at.token()
        found, viewed = await at.asked(token), await at.viewed(token)

        assert (found.status_code, viewed.status_code) == (200, 200)
        # What the registry was sent names the user by an assertion, made for this token, and once.
        sent = [octets for octets in at.desk.wire.sent if b"Assertion" in octets]
        assert sent == at.desk.wire.sent != []
        assert len({octets.partition(b' ID="')[2][:40] for octets in sent}) == 1
        named = [one.user_id for event in at.desk.recorder.events for one in event.participants]
        users = {name for name in named if "roe" in name}
    assert {user.partition("<")[2].partition("@")[0] for user in users} == {"dr.roe"}


async def test_a_token_of_one_patient_opens_no_other(tmp_path: Path):
    async with house(tmp_path) as at:
        token = await at.token(patient_id=PATIENT)
        own, other = await at.asked(token), await at.asked(token, OTHER)

    assert own.status_code == 200
    assert other.status_code in (403, 502) or other.json()["studies"] == []


async def test_what_is_no_token_for_this_is_refused_and_nothing_is_sent(tmp_path: Path):
    async with house(tmp_path) as at:
        genuine = await at.token()
        head, claims, _ = genuine.split(".")
        refused = {
            "for something else": await at.asked(await at.token(scope="RAD-107")),
            "unsigned": await at.asked(f"{head}.{claims}."),
            "of another issuer": await at.asked(a_token()),
        }
        assert at.desk.wire.sent == []
        assert [event for event in at.desk.recorder.events if int(event.outcome)] != []

    assert {name: answer.status_code for name, answer in refused.items()} == dict.fromkeys(refused, 401)


async def test_who_was_disabled_since_opens_nothing(tmp_path: Path):
    async with house(tmp_path) as at:
        token = await at.token()
        await at.http.post(f"{at.url}/people/disable", json={"name": "dr.roe"})
        assert (await at.asked(token)).status_code == 401
        assert at.desk.wire.sent == []


async def test_where_nobody_exchanges_them_no_token_names_a_user(tmp_path: Path):
    async with house(tmp_path, sign_in={}) as at:
        assert (await at.asked(await at.token())).status_code == 401
        assert at.desk.wire.sent == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/token"])
async def test_while_the_identity_service_is_away_tokens_are_answered_for_later(tmp_path: Path, url: str):
    async with house(tmp_path, sign_in={"exchange_url": url}) as at:
        answer = await at.asked(await at.token())

    assert answer.status_code == 503
    assert at.desk.wire.sent == []


async def test_a_program_with_the_library_passes_an_assertion_on_for_its_access_token(tmp_path: Path):
    async with house(tmp_path) as at:
        parts, token = at.desk.consumer.parts, await at.token()
        of_program = parts.unit(None, lambda: token)
        await ImagingDocumentConsumer(of_program).find(PATIENT)
        sent = [octets for octets in at.desk.wire.sent if b"Assertion" in octets]

        assert sent == at.desk.wire.sent != []
        assert b"dr.roe" in sent[0]
        assert authorization(of_program, "GET", SOURCE) == {"authorization": f"Bearer {token}"}
        assert authorization(parts.unit(None, lambda: None), "GET", SOURCE) == {}


async def test_a_program_with_the_library_proves_the_key_of_its_access_token(tmp_path: Path):
    key = ProvingKey()
    async with house(tmp_path) as at:
        token = BoundToken.of(await at.token(key=key), key)
        of_program = at.desk.consumer.parts.unit(None, lambda: token)
        await ImagingDocumentConsumer(of_program).find(PATIENT)
        sent = [octets for octets in at.desk.wire.sent if b"Assertion" in octets]
        headers = authorization(of_program, "GET", f"{SOURCE}?PatientID=P-1")
        source = Authenticator(
            ServiceSettings(
                assertion=communities()[0].settings()["assertion"],
                token={"issuers": {at.url: f"{at.url}/jwks"}, "bound": True},
            )
        )
        brought = SentToken.of(token, proof=headers["dpop"], method="GET")
        caller = await source.caller(
            Node(address="127.0.0.1"), door="ITI-18", endpoint=SOURCE, bearer=brought, speaker_is_user=True
        )

    assert sent != []
    assert headers["authorization"] == f"DPoP {token}"
    assert caller.user is not None
    assert caller.user.name_id == "dr.roe"


async def test_a_token_that_is_exchanged_for_nothing_is_told_and_nothing_is_sent(tmp_path: Path):
    async with house(tmp_path) as at:
        parts = at.desk.consumer.parts
        with pytest.raises(PeerError, match="gives no assertion for this access token"):
            await ImagingDocumentConsumer(parts.unit(None, a_token)).find(PATIENT)
        nobody = replace(parts, exchange=None)
        with pytest.raises(SettingsError, match="XDSI_SIGN_IN__EXCHANGE_URL"):
            await ImagingDocumentConsumer(nobody.unit(None, a_token)).find(PATIENT)
        assert at.desk.wire.sent == []
