"""Who is refused: a clerk by consent, strangers and forgeries at the door."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2

from xdsi.acts.members import ROLES, TREATMENT_PURPOSE, consumer_of, registry_settings
from xdsi.stage import Stage
from xdsi.story import DoesNotHold, Story


async def refuse_clerk(
    story: Story, stage: Stage, clerk: Any, patients: dict[str, str], entries: Sequence[Any]
) -> None:
    """Somebody whom no policy permits sees nothing, and the community can say why."""
    from consumer.domain.study import Via
    from shared.errors import Rejected
    from xdsi.consent import ask_registry

    patient = entries[0].patient_id
    with story.step("A billing clerk of South sees nothing") as step:
        async with consumer_of(stage, clerk) as consumer:
            seen = [entry for each in patients.values() for entry in await consumer.find(each)]
            try:
                await consumer.document(entries[0])
                raise DoesNotHold("the clerk got the manifest by its id")
            except Rejected:
                pass
            manifest = await _as_radiologist(stage, entries[0])
            result = await consumer.retrieve(
                manifest, stage.folder / "south" / "clerk", patient_id=patient, via=Via.RAD69
            )
        if seen or result.instances:
            raise DoesNotHold(f"the clerk saw {len(seen)} entries and {result.instances} images")
        step.outcome = "0 entries; manifest and images by id: as if absent"
    with story.step("… and the community knows why") as step:
        content = {
            "patient_id": patient,
            "action": "query",
            "roles": [str(role) for role in clerk.roles],
            "purposes": [TREATMENT_PURPOSE],
            "organizations": list(clerk.organization_ids),
        }
        answer = await ask_registry(registry_settings(stage), "why", content)
        if answer["permitted"]:
            raise DoesNotHold("the explanation says that the clerk is permitted")
        step.outcome = answer["reason"]
        step.proof = ("Refused", f"a clerk without permission, for this reason: {answer['reason']}")


async def _as_radiologist(stage: Stage, entry: Any) -> Any:
    from consumer.domain.clinician import Clinician
    from shared.ebrim.model import Code

    async with consumer_of(
        stage, Clinician(name_id="dr.south", roles=(Code("RAD-PHYS", ROLES, "Radiologist"),))
    ) as one:
        return await one.manifest(entry)


async def turn_away(story: Story, stage: Stage, radiologist: Any, patients: dict[str, str]) -> None:
    """Whoever proves nothing, or wrongly, gets no answer."""
    from shared.faults import SoapFault
    from shared.security.issuer import AssertionContent, AssertionIssuer

    patient = next(iter(patients.values()))
    provider = stage.south.provider
    south = AssertionIssuer.load(stage.south.issuer, provider.key, provider.certificate)
    forger = AssertionIssuer.load(
        stage.south.issuer, stage.north.provider.key, stage.north.provider.certificate
    )
    audience = f"urn:oid:{registry_settings(stage).affinity_domain}"
    long_ago = datetime.now(UTC) - timedelta(hours=2)
    content = AssertionContent(name_id=radiologist.name_id, audience=audience, roles=radiologist.roles)
    attempts: list[tuple[str, Callable[[], Any]]] = [
        ("no assertion", lambda: None),
        ("an expired assertion", lambda: south.sign(replace(content, not_before=long_ago))),
        ("a foreign signature", lambda: forger.sign(content)),
        ("another audience", lambda: south.sign(replace(content, audience="urn:oid:2.999.99"))),
    ]
    with story.step("Strangers and forgeries are turned away") as step:
        refused = []
        for name, assertion in attempts:
            try:
                await _ask_with(stage, assertion, patient)
            except SoapFault as fault:
                refused.append(f"{name}: {fault.subcode[1] if fault.subcode else fault.code}")
                continue
            raise DoesNotHold(f"{name} was accepted")
        if await _without_certificate(stage):
            raise DoesNotHold("a client without certificate was served")
        step.outcome = "; ".join(["no certificate: no TLS", *refused])[:53] + "…"
        step.proof = ("Turned away", "no certificate; " + "; ".join(name for name, _ in attempts))


async def _ask_with(stage: Stage, assertion: Callable[[], bytes | None], patient: str) -> None:
    from consumer.settings import ConsumerSettings
    from consumer.transactions.iti18 import FIND_DOCUMENTS
    from shared.http.client import http_client
    from shared.messages.iti18 import ITI18, ReturnType, StoredQueryRequest, encode_parameters
    from shared.soap.client import SoapClient

    settings = stage.load(ConsumerSettings, stage.south)
    parameters = encode_parameters({"$XDSDocumentEntryPatientId": patient})
    request = StoredQueryRequest(
        query_id=FIND_DOCUMENTS, return_type=ReturnType.OBJECT_REF, parameters=parameters
    )
    async with http_client(settings.tls, peers=(settings.registry_url,)) as http:
        await SoapClient(http, assertion=assertion).call(ITI18, settings.registry_url, request)


async def _without_certificate(stage: Stage) -> bool:
    """Whether a client that trusts the server and shows no certificate gets any answer."""
    import ssl

    context = ssl.create_default_context(cafile=str(stage.south.trust))
    context.check_hostname = False
    try:
        async with httpx2.AsyncClient(verify=context, trust_env=False) as http:
            await http.get(stage.url("registry", "/health/live"))
    except httpx2.HTTPError:
        return False
    return True
