"""Store by STOW-RS (RAD-108)."""

from __future__ import annotations

import json

from conformance.instances import Image, an_image
from conformance.plans.images import STOW_RS, stored, stow
from conformance.plans.imaging_source.dicomweb import (
    JSON,
    WEB,
    at,
    get,
    instances_of,
    of_instance,
    uids_of,
    value,
)
from conformance.plans.probe import Plan, expect, expect_equal
from conformance.plans.stand import Stand

PLAN = Plan("imaging-source")
_STOW = "DICOM PS3.18 10.5"


@PLAN.requires("IMG-108-101", _STOW, option=STOW_RS, needs=WEB)
def _(stand: Stand) -> None:
    """What is stored is named in the answer, and can be had."""
    image = an_image(stand.oid(), stand.oid(), 1, patient="P1")
    reply = stow(stand, image)
    expect_equal(reply.status, 200, "the HTTP status")
    references = json.loads(reply.content)["00081199"]["Value"]
    expect_equal([value(one, "00081155") for one in references], [image.uid], "Referenced SOP Instance UIDs")
    expect_equal(uids_of(instances_of(get(stand, of_instance(image)))), [image.uid], "instances")


@PLAN.requires("IMG-108-102", _STOW, option=STOW_RS, needs=WEB)
def _(stand: Stand) -> None:
    """An instance may be stored into its study."""
    image = an_image(stand.oid(), stand.oid(), 1, patient="P1")
    expect_equal(stow(stand, image, study=image.study).status, 200, "the HTTP status")


@PLAN.requires("IMG-108-103", _STOW, option=STOW_RS, needs=WEB)
def _(stand: Stand) -> None:
    """An instance of another study than the address names is 409, and not stored."""
    image = an_image(stand.oid(), stand.oid(), 1, patient="P1")
    reply = stow(stand, image, study=stand.oid())
    expect_equal(reply.status, 409, "the HTTP status")
    expect("00081198" in json.loads(reply.content), "the answer has no Failed SOP Sequence")
    expect_equal(get(stand, of_instance(image)).status, 404, "the HTTP status of the instance")


@PLAN.requires("IMG-108-104", _STOW, option=STOW_RS, needs=WEB)
def _(stand: Stand) -> None:
    """What is stored of some and refused of others is 202."""
    good = an_image(stand.oid(), stand.oid(), 1, patient="P1")
    other = an_image(stand.oid(), stand.oid(), 2, patient="P1")
    reply = stow(stand, good, other, study=good.study)
    expect_equal(reply.status, 202, "the HTTP status")
    answer = json.loads(reply.content)
    expect("00081198" in answer and "00081199" in answer, "the answer does not tell both")


@PLAN.requires("IMG-108-105", _STOW, option=STOW_RS, needs=WEB)
def _(stand: Stand) -> None:
    """A body of another media type is 415."""
    url = at(stand, "studies")
    reply = stand.http("POST", url, body=b"x", headers={"Content-Type": "text/plain", "Accept": JSON})
    expect_equal(reply.status, 415, "the HTTP status")


@PLAN.requires("IMG-108-106", _STOW, option=STOW_RS, needs=WEB)
def _(stand: Stand) -> None:
    """What is no DICOM is refused."""
    broken = Image("1", "1", "1", b"this is no DICOM", "")
    expect(stow(stand, broken).status in (400, 409), "HTTP 400 or 409 would be right")


@PLAN.requires("IMG-108-107", _STOW, option=STOW_RS, needs=WEB)
def _(stand: Stand) -> None:
    """The same instance may be stored again."""
    image = stored(stand).images[0]
    expect(stow(stand, image).status in (200, 202), "HTTP 200 or 202 would be right")
