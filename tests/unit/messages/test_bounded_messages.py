"""How much one message may ask: at each limit it is read, beyond it refused by a count before it is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from lxml import etree

from shared.ebrim import query_values
from shared.ebrim.decoder import MAX_DOCUMENTS, MAX_OBJECTS
from shared.ebrim.reader import MAX_SLOT_VALUES, MAX_SLOTS
from shared.errors import Actor, XdsError
from shared.messages import documents, iti62, rad69
from shared.messages.iti18 import ITI18
from shared.messages.iti38 import ITI38
from shared.messages.iti39 import ITI39
from shared.messages.iti41 import ITI41
from shared.messages.iti42 import ITI42
from shared.messages.iti43 import ITI43
from shared.messages.iti51 import ITI51
from shared.messages.iti57 import ITI57
from shared.messages.iti61 import ITI61
from shared.messages.iti62 import ITI62
from shared.messages.iti86 import ITI86
from shared.messages.iti92 import ITI92
from shared.messages.rad69 import RAD69
from shared.messages.rad75 import RAD75
from shared.soap.transaction import SoapTransaction
from shared.xml import NS

PATIENT = "'P-1^^^&amp;1.2.3&amp;ISO'"
DECLARED = " ".join(
    f'xmlns:{prefix}="{NS[prefix]}"' for prefix in ("query", "rim", "lcm", "xds", "xdsi", "rmd")
)

Transaction = SoapTransaction[Any, Any]
Build = Callable[[int], str]


def decoded(transaction: Transaction, xml: str) -> Any:
    # As large as a message may be, hence beyond lxml's own limit of one text.
    body = etree.fromstring(xml.encode(), etree.XMLParser(huge_tree=True))
    return transaction.decode_request(body, {})


def numbers(most: int) -> tuple[tuple[int, bool], ...]:
    return ((most, False), (most + 1, True), (100 * most, True))


# --- stored queries ----------------------------------------------------------------------------------


def query(slots: str) -> str:
    patient = slot("$XDSDocumentEntryPatientId", f"<rim:Value>{PATIENT}</rim:Value>")
    return (
        f'<query:AdhocQueryRequest {DECLARED}><query:ResponseOption returnType="LeafClass"/>'
        f'<rim:AdhocQuery id="urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d">{patient}{slots}'
        "</rim:AdhocQuery></query:AdhocQueryRequest>"
    )


def slot(name: str, values: str) -> str:
    return f'<rim:Slot name="{name}"><rim:ValueList>{values}</rim:ValueList></rim:Slot>'


def slots(number: int) -> str:
    return query("".join(slot(f"$a{each}", "<rim:Value>'1'</rim:Value>") for each in range(number - 1)))


def values(number: int) -> str:
    listed = "".join(f"<rim:Value>('{each}')</rim:Value>" for each in range(number))
    return query(slot("$XDSDocumentEntryClassCode", listed))


def values_in_lists(number: int) -> str:
    """As other vendors write them: as many in one Value as it holds."""
    quoted = [f"'{each}'" for each in range(number)]
    lists = [",".join(quoted[first : first + 700]) for first in range(0, number, 700)]
    listed = "".join(f"<rim:Value>({one})</rim:Value>" for one in lists)
    return query(slot("$XDSDocumentEntryClassCode", listed))


def values_in_all(number: int) -> str:
    """Spread over Slots that each are within their limit; one value is the patient's."""
    lists = [range(first, min(first + 500, number - 1)) for first in range(0, number - 1, 500)]
    return query(
        "".join(slot("$c", "".join(f"<rim:Value>'{each}'</rim:Value>" for each in one)) for one in lists)
    )


def characters(number: int) -> str:
    return query(slot("$c", f"<rim:Value>'{'x' * (number - 2)}'</rim:Value>"))


QUERY_LIMITS: tuple[tuple[Build, int], ...] = (
    (slots, query_values.MAX_SLOTS),
    (values, query_values.MAX_ALTERNATIVES),
    (values_in_lists, query_values.MAX_ALTERNATIVES),
    (values_in_all, query_values.MAX_VALUES),
    (characters, query_values.MAX_CHARACTERS),
)


@pytest.mark.parametrize("transaction", [ITI18, ITI51, ITI38], ids=lambda one: one.number)
@pytest.mark.parametrize(
    ("build", "number", "beyond"),
    [(build, number, beyond) for build, most in QUERY_LIMITS for number, beyond in numbers(most)],
)
def test_a_query_beyond_a_limit_is_refused_by_a_count_and_the_trail_is_told_its_patient(
    transaction: Transaction, build: Build, number: int, beyond: bool
):
    request = decoded(transaction, build(number))

    assert (request.refused is not None) is beyond
    assert request.parameters["$XDSDocumentEntryPatientId"] == (("'P-1^^^&1.2.3&ISO'",),)
    if beyond:
        assert request.refused.code_for(Actor.REGISTRY) == "XDSStoredQueryParamNumber"
        assert len(ITI18.encode_request(request).xml) < 8_000
        assert not request.octets


def test_commas_inside_names_are_no_more_values():
    name = "'" + ",".join("Roe" for _ in range(3_000)) + "'"

    asked = query(slot("$XDSDocumentEntryAuthorPerson", f"<rim:Value>({name})</rim:Value>"))
    assert decoded(ITI18, asked).refused is None


# --- references --------------------------------------------------------------------------------------

ONE = (
    "<xds:DocumentRequest><xds:RepositoryUniqueId>1.2</xds:RepositoryUniqueId>"
    "<xds:DocumentUniqueId>1.2.{}</xds:DocumentUniqueId></xds:DocumentRequest>"
)


def retrieve(listed: str) -> str:
    return f"<xds:RetrieveDocumentSetRequest {DECLARED}>{listed}</xds:RetrieveDocumentSetRequest>"


def requested(number: int) -> str:
    return retrieve("".join(map(ONE.format, range(number))))


def the_same_again(number: int) -> str:
    return retrieve(ONE.format(1) * number)


def removed(number: int) -> str:
    return requested(number).replace("xds:RetrieveDocumentSetRequest", "rmd:RemoveDocumentsRequest")


def unlisted(number: int) -> str:
    listed = "".join(f'<rim:ObjectRef id="urn:uuid:{each}"/>' for each in range(number))
    return (
        f"<lcm:RemoveObjectsRequest {DECLARED}><rim:ObjectRefList>{listed}</rim:ObjectRefList>"
        "</lcm:RemoveObjectsRequest>"
    )


def imaging(studies: str, syntaxes: int = 1) -> str:
    listed = "<xdsi:TransferSyntaxUID>1.2.840.10008.1.2.1</xdsi:TransferSyntaxUID>" * syntaxes
    return (
        f"<xdsi:RetrieveImagingDocumentSetRequest {DECLARED}>{studies}"
        f"<xdsi:TransferSyntaxUIDList>{listed}</xdsi:TransferSyntaxUIDList>"
        "</xdsi:RetrieveImagingDocumentSetRequest>"
    )


def series(listed: str) -> str:
    return f'<xdsi:SeriesRequest seriesInstanceUID="1.3">{listed}</xdsi:SeriesRequest>'


def study(listed: str) -> str:
    return f'<xdsi:StudyRequest studyInstanceUID="1.2">{listed}</xdsi:StudyRequest>'


def instances(number: int) -> str:
    return imaging(study(series("".join(map(ONE.format, range(number))))))


def instances_of_many_series(number: int) -> str:
    return imaging(study("".join(series(ONE.format(each)) for each in range(number))))


def empty_series(number: int) -> str:
    return imaging(study(series(ONE.format(1)) + series("") * (number - 1)))


def empty_studies(number: int) -> str:
    return imaging(study(series(ONE.format(1))) + study("") * (number - 1))


def transfer_syntaxes(number: int) -> str:
    return imaging(study(series(ONE.format(1))), number)


REFERENCES: tuple[tuple[Transaction, Build, int], ...] = (
    (ITI43, requested, documents.MAX_REFERENCES),
    (ITI43, the_same_again, documents.MAX_REFERENCES),
    (ITI39, requested, documents.MAX_REFERENCES),
    (ITI86, removed, documents.MAX_REFERENCES),
    (ITI62, unlisted, iti62.MAX_REFERENCES),
    (RAD69, instances, rad69.MAX_REFERENCES),
    (RAD69, instances_of_many_series, rad69.MAX_REFERENCES),
    (RAD69, empty_series, rad69.MAX_REFERENCES),
    (RAD69, empty_studies, rad69.MAX_REFERENCES),
    (RAD69, transfer_syntaxes, rad69.MAX_REFERENCES),
    (RAD75, instances, rad69.MAX_REFERENCES),
)


@pytest.mark.parametrize(
    ("transaction", "build", "number", "beyond"),
    [(one, build, number, beyond) for one, build, most in REFERENCES for number, beyond in numbers(most)],
    ids=lambda value: getattr(value, "number", getattr(value, "__name__", str(value))),
)
def test_references_beyond_a_limit_are_refused_by_a_count(
    transaction: Transaction, build: Build, number: int, beyond: bool
):
    request = decoded(transaction, build(number))

    assert (request.refused is not None) is beyond
    if beyond:
        assert request.refused.code_for(Actor.REPOSITORY) == "XDSRepositoryError"
        assert "at most" in request.refused.context
        assert 0 < len(transaction.encode_request(request).xml) < 10_000


# --- submissions -------------------------------------------------------------------------------------

SUBMITTED = {
    ITI42: ("lcm:SubmitObjectsRequest", ""),
    ITI41: ("xds:ProvideAndRegisterDocumentSetRequest", "lcm:SubmitObjectsRequest"),
    ITI57: ("lcm:SubmitObjectsRequest", ""),
    ITI61: ("lcm:SubmitObjectsRequest", ""),
    ITI92: ("lcm:SubmitObjectsRequest", ""),
}


def submitted(transaction: Transaction, objects: str) -> str:
    outer, inner = SUBMITTED[transaction]
    listed = f"<rim:RegistryObjectList>{objects}</rim:RegistryObjectList>"
    if inner:
        listed = f"<{inner}>{listed}</{inner}>"
    return f"<{outer} {DECLARED}>{listed}</{outer}>"


def entry(inside: str = "", number: int = 0) -> str:
    return f'<rim:ExtrinsicObject id="d{number}" mimeType="text/plain">{inside}</rim:ExtrinsicObject>'


def extra_slots(number: int) -> str:
    return entry("".join(slot(f"urn:x:{each}", "<rim:Value>1</rim:Value>") for each in range(number)))


def slot_values(number: int) -> str:
    return entry(slot("urn:x", "<rim:Value>1</rim:Value>" * number))


def value_characters(number: int) -> str:
    return entry(slot("urn:x", f"<rim:Value>{'x' * number}</rim:Value>"))


def submitted_documents(number: int) -> str:
    return "".join(entry(number=each) for each in range(number))


def submitted_objects(number: int) -> str:
    return "".join(f'<rim:Association id="a{each}"/>' for each in range(number))


SUBMISSION_LIMITS: tuple[tuple[Build, int, str], ...] = (
    (extra_slots, MAX_SLOTS, f"{MAX_SLOTS} Slots"),
    (slot_values, MAX_SLOT_VALUES, f"{MAX_SLOT_VALUES} values"),
    (value_characters, 256, "256 characters"),
    (submitted_documents, MAX_DOCUMENTS, f"at most {MAX_DOCUMENTS}"),
    (submitted_objects, MAX_OBJECTS, f"more than {MAX_OBJECTS} objects"),
)


@pytest.mark.parametrize("transaction", list(SUBMITTED), ids=lambda one: one.number)
@pytest.mark.parametrize(
    ("build", "number", "beyond", "told"),
    [
        (build, number, beyond, told)
        for build, most, told in SUBMISSION_LIMITS
        for number, beyond in numbers(most)
    ],
)
def test_a_submission_beyond_a_limit_is_refused_with_a_metadata_error_that_names_it(
    transaction: Transaction, build: Build, number: int, beyond: bool, told: str
):
    result = decoded(transaction, submitted(transaction, build(number))).decoded

    refusals: list[XdsError] = [error for error in result.errors if told in error.context]
    assert bool(refusals) is beyond
    assert {error.code_for(Actor.REGISTRY) for error in refusals} <= {"XDSRegistryMetadataError"}
    assert {error.code_for(Actor.REPOSITORY) for error in refusals} <= {"XDSRepositoryMetadataError"}
