"""References that are folded are read as those that are not, whatever a message looks like."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.faults import SenderFault
from shared.messages.documents import (
    DocumentRequest,
    PartReference,
    RetrievedDocument,
    RetrieveDocumentSetResponse,
)
from shared.messages.iti43 import ITI43, RetrieveDocumentSetRequest
from shared.messages.rad69 import (
    MAX_REFERENCES,
    RAD69,
    RetrieveImagingDocumentSetRequest,
    SeriesRequest,
    StudyRequest,
)
from shared.soap.folding import JOINT, number_folded, parse_folded
from shared.xml import XmlError, parse

HOME, PLACE = "urn:oid:2.999.1", "2.999.1.2"


def study(*series, home=HOME):
    """A request for series with so many instances each, every other series at another place."""
    return RetrieveImagingDocumentSetRequest(
        studies=(
            StudyRequest(
                study_instance_uid="2.999.3",
                series=tuple(
                    SeriesRequest(
                        series_instance_uid=f"2.999.3.{number}",
                        documents=tuple(
                            DocumentRequest(f"{PLACE}.{number % 2}", f"2.999.3.{number}.{instance}", home)
                            for instance in range(instances)
                        ),
                    )
                    for number, instances in enumerate(series)
                ),
            ),
        ),
        transfer_syntax_uids=("1.2.840.10008.1.2.1",),
    )


def answer(*places):
    """An answer with so many documents of each place."""
    return RetrieveDocumentSetResponse(
        documents=tuple(
            RetrievedDocument(f"{PLACE}.{place}", f"2.999.4.{place}.{number}", "application/dicom", b"", HOME)
            for place, documents in enumerate(places)
            for number in range(documents)
        )
    )


def request_octets(request):
    return RAD69.encode_request(request).xml


def answer_octets(response):
    return RAD69.encode_response(response).xml


def outcome(octets, parser, decode):
    """What is read, or how it is refused."""
    try:
        value = decode(parser(octets), {})
        return value, getattr(value, "refused", None) and str(value.refused)
    except (XmlError, SenderFault) as error:
        return type(error), str(error)


def read_alike(octets, decode=RAD69.decode_request):
    plain = outcome(octets, parse, decode)
    assert outcome(octets, parse_folded, decode) == plain
    return plain


REQUEST = request_octets(study(40, 20))
ANSWER = answer_octets(answer(40))


def test_a_request_for_a_study_is_folded_and_read_as_it_was_written():
    request = study(100, 50, 1)
    octets = request_octets(request)

    assert number_folded(parse_folded(octets)) == 99 + 49
    assert RAD69.decode_request(parse_folded(octets), {}) == request


def test_an_answer_with_a_study_is_folded_and_read_as_it_was_written():
    octets = answer_octets(answer(100))

    read = RAD69.decode_response(parse_folded(octets), {})

    assert octets.count(b"<xds:DocumentResponse>") == 100
    assert len(list(parse_folded(octets).iter("{urn:ihe:iti:xds-b:2007}DocumentResponse"))) == 1
    assert read == RAD69.decode_response(parse(octets), {})
    assert [document.content for document in read.documents[:2]] == [
        PartReference("document1@xdsi"),
        PartReference("document2@xdsi"),
    ]


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(request_octets(study(30, home="")), id="no community"),
        pytest.param(request_octets(study(*[20] * 12)), id="two places by turns"),
        pytest.param(REQUEST.replace(b"><xds", b">\n   <xds").replace(b"></", b">\r\n </"), id="in lines"),
        pytest.param(REQUEST.replace(b"xds:", b"").replace(b"xmlns:xds", b"xmlns"), id="default namespace"),
        pytest.param(REQUEST.replace(b"<xds:DocumentRequest>", b"<xdsi:DocumentRequest>"), id="not closed"),
        pytest.param(REQUEST.replace(b"xds:DocumentRequest>", b"xdsi:DocumentRequest>"), id="of radiology"),
        pytest.param(
            re.sub(b"(<xds:DocumentRequest)", b'\\1 xmlns:xds="urn:ihe:iti:xds-b:2007"', REQUEST),
            id="declared",
        ),
        pytest.param(re.sub(b"(<xds:DocumentRequest)", b'\\1 xmlns:xds="urn:other"', REQUEST), id="foreign"),
        pytest.param(REQUEST.replace(b"2.999.3.0.7<", b"2.999.<!-- -->3.0.7<"), id="a comment"),
        pytest.param(REQUEST.replace(b"2.999.3.0.7<", b"<![CDATA[2.999.3.0.7]]><"), id="a CDATA section"),
        pytest.param(REQUEST.replace(b"2.999.3.0.7<", b"2.999.3.&#48;.7&amp;<"), id="references"),
        pytest.param(REQUEST.replace(b"2.999.3.0.7<", b" 2.999.3.0.7\n<"), id="blanks"),
        pytest.param(REQUEST.replace(b"2.999.3.0.7<", b"<"), id="an empty id"),
        pytest.param(REQUEST.replace(b"2.999.3.0.7<", b"2.999<x/>.3.0.7<"), id="an element in an id"),
        pytest.param(
            REQUEST.replace(b"<xds:DocumentUniqueId>2.999.3.0.7</xds:DocumentUniqueId>", b""), id="no id"
        ),
        pytest.param(REQUEST.decode().encode("utf-16"), id="UTF-16"),
        pytest.param(b'<?xml version="1.0" encoding="UTF-8"?>' + REQUEST, id="a declaration"),
        pytest.param(b"<?xml version='1.0' encoding='ISO-8859-1'?>" + REQUEST, id="Latin-1"),
        pytest.param(REQUEST[:-1], id="not closed at the end"),
        pytest.param(request_octets(study(MAX_REFERENCES + 1)), id="too many"),
        pytest.param(request_octets(study(MAX_REFERENCES)), id="as many as may be"),
    ],
)
def test_whatever_a_request_looks_like_it_is_read_as_without_folding(octets):
    read_alike(octets)


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(answer_octets(answer(20, 30, 20)), id="three places"),
        pytest.param(ANSWER.replace(b"document7@", b"document%207%40"), id="an encoded Content-ID"),
        pytest.param(ANSWER.replace(b'"cid:document7@xdsi"', b"'cid:document7@xdsi'"), id="other quotes"),
        pytest.param(ANSWER.replace(b"cid:document7@xdsi", b"http://elsewhere"), id="elsewhere"),
        pytest.param(ANSWER.replace(b"cid:", b"CID:"), id="in capitals"),
        pytest.param(ANSWER.replace(b'7@xdsi"/>', b'7@xdsi"></xop:Include>'), id="closed"),
        pytest.param(ANSWER.replace(b'7@xdsi"/>', b'7@xdsi" x="1"/>'), id="an attribute"),
        pytest.param(ANSWER.replace(b"2004/08/xop/include", b"other"), id="no include"),
        pytest.param(ANSWER.replace(b"<xds:Document>", b"<xds:Document>\n"), id="blanks around"),
        pytest.param(ANSWER.replace(b"2.999.4.0.7<", b"2.999.4%2E.0.7 &lt; <"), id="an odd id"),
        pytest.param(ANSWER.replace(b"2.999.4.0.7<", b'2.999"4.0.7<'), id="a quote in an id"),
        pytest.param(
            ANSWER.replace(b"4.0.7</xds:DocumentUniqueId>", b"4.0.7</xds:DocumentUniqueId><x:y/>"),
            id="undeclared",
        ),
        pytest.param(ANSWER.replace(b"application/dicom", b"text/xml", 3), id="two types"),
    ],
)
def test_whatever_an_answer_looks_like_it_is_read_as_without_folding(octets):
    read_alike(octets, RAD69.decode_response)


def test_documents_are_folded_too():
    documents = tuple(DocumentRequest(PLACE, f"2.999.5.{number}") for number in range(60))
    octets = ITI43.encode_request(RetrieveDocumentSetRequest(documents=documents)).xml

    assert number_folded(parse_folded(octets)) == 59
    assert ITI43.decode_request(parse_folded(octets), {}).documents == documents


def test_what_a_sender_takes_for_the_mark_is_an_id():
    read, _ = read_alike(
        REQUEST.replace(b"2.999.3.0.7<", b"2.999.3.0.7 2.999.3.0.8\n1" + b"a" * len(JOINT) + b"<")
    )

    assert read.studies[0].series[0].documents[7].document_unique_id.startswith("2.999.3.0.7 2.999.3.0.8")


places = st.floats(0, 1, exclude_max=True)


@given(st.sampled_from((REQUEST, ANSWER)), places, places, places, st.sampled_from((1, 5, 40, 200, 700)))
@example(REQUEST, 0.5, 0.5, 0.1, 200)
def test_a_message_that_was_cut_and_put_together_elsewhere_is_read_as_without_folding(
    octets, begin, to, end, size
):
    """A piece of the message, moved or put somewhere twice: most are not well-formed any more."""
    first, second = int(begin * len(octets)), int(to * len(octets))
    piece = octets[first : first + size]
    without = octets[:first] + octets[first + int(end * size) :]

    read_alike(
        without[:second] + piece + without[second:],
        RAD69.decode_request if octets is REQUEST else RAD69.decode_response,
    )
