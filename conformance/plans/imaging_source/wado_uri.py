"""Instances by WADO-URI (RAD-55)."""

from __future__ import annotations

from io import BytesIO
from urllib.parse import quote, urlencode

from pydicom import dcmread

from conformance.instances import Image
from conformance.plans.images import expect_same, stored
from conformance.plans.message import Reply
from conformance.plans.probe import Plan, expect, expect_equal
from conformance.plans.stand import Stand

PLAN = Plan("imaging-source")
URI = ("wado", "dicomweb")
_URI = "DICOM PS3.18 9"


def wado(stand: Stand, image: Image, accept: str = "*/*", **changes: str) -> Reply:
    """A request by WADO-URI; an empty change takes a parameter away."""
    usual = {
        "requestType": "WADO",
        "studyUID": image.study,
        "seriesUID": image.series,
        "objectUID": image.uid,
        "contentType": "application/dicom",
    }
    keys = {name: replacements for name, replacements in (usual | changes).items() if replacements}
    url = f"{stand.endpoint('wado')}?{urlencode(keys, quote_via=quote)}"
    return stand.http("GET", url, headers={"Accept": accept})


@PLAN.requires("IMG-55-101", _URI, option="WADO-URI", needs=URI)
def _(stand: Stand) -> None:
    """An instance comes as a DICOM file."""
    image = stored(stand).images[0]
    reply = wado(stand, image)
    expect_equal((reply.status, reply.media_type), (200, "application/dicom"), "status and media type")
    expect_same(dcmread(BytesIO(reply.content)), image)


@PLAN.requires("IMG-55-102", _URI, option="WADO-URI", needs=URI)
def _(stand: Stand) -> None:
    """An instance comes as a JPEG."""
    reply = wado(stand, stored(stand).images[0], "image/jpeg", contentType="image/jpeg")
    expect_equal((reply.status, reply.media_type), (200, "image/jpeg"), "status and media type")


for _number, _parameter in enumerate(("requestType", "studyUID", "seriesUID", "objectUID"), 3):

    def _missing(stand: Stand, parameter: str = _parameter) -> None:
        expect_equal(wado(stand, stored(stand).images[0], **{parameter: ""}).status, 400, "the HTTP status")

    PLAN.add(
        f"IMG-55-10{_number}",
        _URI,
        f"a request without {_parameter} is 400",
        _missing,
        option="WADO-URI",
        needs=URI,
    )


@PLAN.requires("IMG-55-107", _URI, option="WADO-URI", needs=URI)
def _(stand: Stand) -> None:
    """An instance that nobody knows is 404."""
    expect_equal(wado(stand, stored(stand).images[0], objectUID=stand.oid()).status, 404, "the HTTP status")


@PLAN.requires("IMG-55-108", _URI, option="WADO-URI", needs=URI)
def _(stand: Stand) -> None:
    """A transfer syntax that cannot be given is 406."""
    reply = wado(stand, stored(stand).images[0], transferSyntax="2.25.1")
    expect(reply.status in (400, 406), f"HTTP {reply.status}, and 406 would be right")


@PLAN.requires("IMG-55-109", _URI, option="WADO-URI", needs=URI)
def _(stand: Stand) -> None:
    """A frame beyond the last one is 400 or 404."""
    reply = wado(stand, stored(stand).frames, "image/jpeg", contentType="image/jpeg", frameNumber="9")
    expect(reply.status in (400, 404), f"HTTP {reply.status}")
