"""What other vendors' registries write is read for what it says."""

from __future__ import annotations

import pytest

from shared.ebrim.codec import encode_document_entry
from shared.ebrim.decoder import decode_objects
from shared.xml import NS, parse
from tests.support.metadata import a_document_entry

ENTRY = a_document_entry(title="CT", reference_ids=("A1^^^&1.2.3&ISO^urn:ihe:iti:xds:2013:accession",))
VENDOR = "urn:uuid:00000000-1111-2222-3333-444444444444"


def decoded(fragment: str):
    objects = decode_objects(
        parse(f'<rim:RegistryObjectList xmlns:rim="{NS["rim"]}">{fragment}</rim:RegistryObjectList>'.encode())
    )
    assert objects.errors == ()
    (entry,) = objects.document_entries
    return entry


@pytest.mark.parametrize("attribute", ["unique_id", "patient_id", "repository_unique_id"])
def test_blanks_round_an_id_are_no_part_of_it(attribute):
    value = getattr(ENTRY, attribute).replace("&", "&amp;")
    fragment = encode_document_entry(ENTRY).decode()
    assert value in fragment
    padded = fragment.replace(f'"{value}"', f'" {value}\n"').replace(f">{value}<", f"> {value} <")

    assert getattr(decoded(padded), attribute) == getattr(ENTRY, attribute)


def test_classifications_and_identifiers_of_a_vendor_are_passed_over():
    own = (
        f'<rim:Classification id="urn:uuid:9" classifiedObject="{ENTRY.entry_uuid}"'
        f' classificationScheme="{VENDOR}" nodeRepresentation="x"/>'
        f'<rim:ExternalIdentifier id="urn:uuid:8" registryObject="{ENTRY.entry_uuid}"'
        f' identificationScheme="{VENDOR}" value="x"/>'
    )
    fragment = encode_document_entry(ENTRY).decode()

    assert decoded(fragment.replace("<rim:ExternalIdentifier", own + "<rim:ExternalIdentifier", 1)) == ENTRY


def test_a_reference_that_leads_to_another_community_is_kept_as_it_was_sent():
    fragment = encode_document_entry(ENTRY).decode()
    reference = f"{ENTRY.reference_ids[0]}^urn:oid:1.2.9"
    sent = fragment.replace(ENTRY.reference_ids[0].replace("&", "&amp;"), reference.replace("&", "&amp;"))

    assert decoded(sent).reference_ids == (reference,)


def test_a_uuid_in_upper_case_is_taken_as_it_is():
    fragment = encode_document_entry(ENTRY).decode()
    shouted = "urn:uuid:" + ENTRY.entry_uuid.removeprefix("urn:uuid:").upper()

    assert decoded(fragment.replace(ENTRY.entry_uuid, shouted)).entry_uuid == shouted
