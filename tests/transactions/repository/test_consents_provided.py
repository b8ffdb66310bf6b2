"""Consent documents that are provided (ITI-41): who may, and what our registry gets of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from repository.transactions import iti41
from repository.transactions.consent_documents import MOST_SCANNED_BYTES
from shared.consent.documents.appc import FORMAT_CODE as APPC
from shared.consent.documents.forms import CONTENT, MOST_BYTES, content_of
from shared.ebrim.model import Code, DocumentEntry, Slot, Timestamp
from shared.errors import Rejected
from shared.messages.registry import Status
from tests.support.consents import OPT_IN, OPT_OUT, an_acknowledgement, an_exclusion
from tests.support.metadata import DOMAIN, PATIENT, a_document_entry, a_submission
from tests.transactions.repository.conftest import PROVIDER, House

OURS = (DOMAIN, PATIENT.partition("^")[0])
FORMATS = "1.3.6.1.4.1.19376.1.2.3"
RECORDER = replace(PROVIDER, may_consent=True)
EXCLUSION = an_exclusion("SURGEON", "2.999.40.1", OURS)
ACKNOWLEDGED = an_acknowledgement(OPT_IN, patient=OURS, begins="20200101", ends="20301231")


def an_entry(format_code: str, **changes: Any) -> DocumentEntry:
    return a_document_entry(
        format_code=Code(format_code, FORMATS),
        mime_type="text/xml",
        **{"hash": "", "size": None, "repository_unique_id": ""} | changes,
    )


def a_bppc(*oids: str, begins: str = "20200101", ends: str | None = "20301231", **changes: Any):
    return an_entry(
        "urn:ihe:iti:bppc:2007",
        event_codes=tuple(Code(oid, "2.999.50") for oid in oids),
        service_start_time=Timestamp(begins),
        service_stop_time=Timestamp(ends) if ends else None,
        **changes,
    )


async def provide(house: House, entry: DocumentEntry, octets: bytes, caller=RECORDER):
    return await iti41.handle(house.unit(caller), house.request(a_submission(entry), a=octets))


def heard(house: House) -> DocumentEntry:
    [(_, registration)] = house.registry.heard
    [entry] = registration.decoded.submission.document_entries
    return entry


async def test_the_registry_gets_the_content_of_a_consent_that_decides_by_it(house: House):
    planted = Slot(CONTENT, ("AAAA",))
    answer = await provide(house, an_entry(APPC, extra_slots=(planted,)), EXCLUSION)

    assert answer.status is Status.SUCCESS
    assert content_of(heard(house)) == EXCLUSION
    [slot] = heard(house).extra_slots
    assert max(map(len, slot.values)) <= 256, "values of a Slot are no longer (ebRIM)"


async def test_a_bppc_document_decides_by_its_metadata_and_says_the_same(house: House):
    await provide(house, a_bppc(OPT_IN), ACKNOWLEDGED)
    assert heard(house).extra_slots == ()


@pytest.mark.parametrize(
    ("entry", "document"),
    [
        (a_bppc(OPT_OUT), ACKNOWLEDGED),
        (a_bppc(OPT_IN, OPT_OUT), ACKNOWLEDGED),
        (a_bppc(OPT_IN, begins="20210101"), ACKNOWLEDGED),
        (a_bppc(OPT_IN, ends=None), ACKNOWLEDGED),
        (a_bppc(OPT_IN), an_acknowledgement(OPT_IN, patient=(DOMAIN, "P-9"), ends="20301231")),
        (a_bppc(OPT_IN), EXCLUSION),
        (a_bppc(OPT_IN), b"rubbish"),
        (a_bppc(OPT_IN), b" " * (MOST_SCANNED_BYTES + 1)),
        (an_entry(APPC), b" " * (MOST_BYTES + 1)),
    ],
    ids=[
        "another policy",
        "one more",
        "another beginning",
        "no end",
        "another patient",
        "another document",
        "rubbish",
        "a scan too large",
        "too large",
    ],
)
async def test_a_document_that_says_other_than_its_metadata_is_refused(house: House, entry, document):
    with pytest.raises(Rejected) as refused:
        await provide(house, entry, document)
    [error] = refused.value.errors
    assert error.location == entry.entry_uuid
    assert house.registry.heard == []


@pytest.mark.parametrize(("entry", "document"), [(a_bppc(OPT_IN), ACKNOWLEDGED), (an_entry(APPC), EXCLUSION)])
async def test_a_node_without_the_right_provides_no_consent(house: House, entry, document):
    with pytest.raises(Rejected, match="XDSI_RIGHTS__CONSENT"):
        await provide(house, entry, document, PROVIDER)
    assert house.registry.heard == []

    assert (await provide(house, entry, document)).status is Status.SUCCESS


async def test_nobody_makes_a_document_of_another_form_a_consent(house: House):
    planted = Slot(CONTENT, ("AAAA",))
    await provide(house, an_entry("urn:x", extra_slots=(planted,)), b"text", PROVIDER)
    assert heard(house).extra_slots == ()


async def test_a_registry_of_another_vendor_gets_what_came(house: House):
    consent = house.parts.settings.consent.model_copy(update={"source": "none"})
    settings = house.parts.settings.model_copy(update={"consent": consent})
    house.parts = replace(house.parts, settings=settings)

    await provide(house, an_entry(APPC), EXCLUSION, PROVIDER)
    assert heard(house).extra_slots == ()
