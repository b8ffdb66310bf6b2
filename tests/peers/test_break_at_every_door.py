"""Break-glass over everything that is served: who broke the glass is given what is denied at every door, with
the purpose and until it is signed off; nobody else is, and who speaks for no user is not."""

from __future__ import annotations

from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from shared.ebrim.model import Code
from shared.soap.transaction import SoapTransaction
from tests.peers.test_every_transaction_asks_consent import PATIENT, Shared, a_shared_study
from tests.support.certificates import RADIOLOGIST, TREATMENT, assertion_for, communities
from tests.support.community import post
from tests.support.metadata import DOMAIN

pytestmark = [pytest.mark.heavy]

EMERGENCY = Code("BTG", "2.16.840.1.113883.5.8", "break the glass")
#: Pages know a person by the session of a browser, and ask what the interface beside them asks.
PAGES = tuple(
    f"consumer GET /{page}" for page in ("searches/", "studies/{", "instances/", "reports/", "compare")
)


@dataclass(frozen=True, kw_only=True)
class Asker(Shared):
    """Asks at every door for a user."""

    assertion: bytes
    every: bool

    def doors(self) -> list[tuple[str, Callable[[], Any]]]:
        """All of them, or those that are not one more way to a part of a study; pages are left out."""
        doors = ((name, ask) for name, ask in super().doors() if not name.startswith(PAGES))
        further = ("{series}", "rendered", "thumbnail", "metadata", "bulk")
        return [(name, ask) for name, ask in doors if self.every or not any(word in name for word in further)]

    def _posted(self, transaction: SoapTransaction[Any, Any], url: str, request: Any) -> Callable[[], Any]:
        return lambda: post(self.http, transaction, url, request, assertion=self.assertion)

    def _asked(self, method: str, url: str, body: dict[str, Any] | None) -> Callable[[], Any]:
        by_saml = url.startswith(self.house.url("consumer", "/api"))
        token = f"SAML {b64encode(self.assertion).decode()}" if by_saml else f"Bearer {self.bearer}"
        return lambda: self.http.request(method, url, json=body, headers={"authorization": token})

    @property
    def bearer(self) -> str:
        return urlsafe_b64encode(self.assertion).rstrip(b"=").decode()

    async def asked(self, action: str, **content: Any) -> Any:
        answer = await self.http.post(
            self.house.url("registry", f"/consent/{action}"),
            json=content,
            headers={"authorization": f"Bearer {self.bearer}"},
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def open_doors(self) -> set[str]:
        return {name for name, gives in (await self.given()).items() if gives}


def an_asker(shared: Shared, name: str, purpose: Code, every: bool) -> Asker:
    parts = {field.name: getattr(shared, field.name) for field in fields(Shared)}
    assertion = assertion_for(name, purposes=(purpose,), audience=f"urn:oid:{DOMAIN}")
    return Asker(**parts, assertion=assertion, every=every)


async def test_who_broke_the_glass_is_given_what_is_denied_at_every_door_and_nobody_else(
    tmp_path: Path, long: bool
):
    settings = {
        "assertion": communities()[0].settings()["assertion"],
        "break_glass_roles": [str(RADIOLOGIST)],
        "break_glass_purposes": [str(EMERGENCY)],
    }
    async with a_shared_study(tmp_path, **settings) as shared:
        in_emergency = an_asker(shared, "dr.north", EMERGENCY, long)
        for_treatment = an_asker(shared, "dr.north", TREATMENT, long)
        somebody_else = an_asker(shared, "dr.other", EMERGENCY, long)
        everywhere = await for_treatment.open_doors()
        await shared.set_policy("deny")

        declared = await in_emergency.asked("break", patient_id=PATIENT, reason="unconscious")

        by_dimse = {door for door in everywhere if door.startswith("DIMSE ")}
        assert len(everywhere - by_dimse) > 15
        assert await in_emergency.open_doors() == everywhere - by_dimse
        assert await for_treatment.open_doors() == set()
        assert await somebody_else.open_doors() == set()

        await somebody_else.asked("sign-off", policy_id=declared["policy_id"], note="looked at")
        assert await in_emergency.open_doors() == set()
