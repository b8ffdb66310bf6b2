"""Initiating and Responding Gateway: ITI-38, ITI-39, RAD-75, and the transactions of consumers across them."""

from __future__ import annotations

from conformance.envelopes import Envelope
from conformance.plans import soap
from conformance.plans.images import stored
from conformance.plans.imaging_source.retrieve import asked, delivered, location
from conformance.plans.message import Reply
from conformance.plans.metadata import (
    APPROVED,
    FIND_DOCUMENTS,
    GET_DOCUMENTS,
    QUERY,
    Parameters,
    entries_in,
    expect_found,
    query,
    query_body,
    several,
    text,
)
from conformance.plans.probe import NotOffered, Plan, expect, expect_equal
from conformance.plans.repository import CONTENT, provided, repository_id, requested
from conformance.plans.stand import Stand

PLAN = Plan("gateway")
CROSS_QUERY = "urn:ihe:iti:2007:CrossGatewayQuery"
CROSS_RETRIEVE = "urn:ihe:iti:2007:CrossGatewayRetrieve"
CROSS_IMAGES = "urn:ihe:rad:2011:CrossGatewayRetrieveImagingDocumentSet"
INITIATING, RESPONDING = ("initiating",), ("responding",)
NOBODY = "urn:oid:2.999.404"


def home(stand: Stand) -> str:
    """The homeCommunityId of the system; raises `NotOffered` when it was not given."""
    if not stand.target.home:
        raise NotOffered("the homeCommunityId was not given (--home)")
    return stand.target.home


def _nothing(unique_id: str) -> str:
    return query_body(GET_DOCUMENTS, {"XDSDocumentEntryUniqueId": several(unique_id)})


DOOR = soap.Door(
    "responding",
    CROSS_QUERY,
    f"{CROSS_QUERY}Response",
    False,
    lambda stand: query_body(
        GET_DOCUMENTS, {"XDSDocumentEntryUniqueId": several(stand.oid())}, home=home(stand)
    ),
)
soap.state(PLAN, "XCA", DOOR)
RETRIEVE_DOOR = soap.Door(
    "responding",
    CROSS_RETRIEVE,
    f"{CROSS_RETRIEVE}Response",
    True,
    lambda stand: (
        "<xds:RetrieveDocumentSetRequest>"
        f"{requested(('2.999.404', stand.oid()), home=home(stand))}</xds:RetrieveDocumentSetRequest>"
    ),
)
soap.state(PLAN, "XCAR", RETRIEVE_DOOR)


def _cross_find(stand: Stand, patient_id: str, **more: str) -> Reply:
    parameters: Parameters = {
        "XDSDocumentEntryPatientId": text(patient_id),
        "XDSDocumentEntryStatus": several(APPROVED),
        **more,
    }
    return query(stand, FIND_DOCUMENTS, parameters, actor="responding", action=CROSS_QUERY, home=home(stand))


@PLAN.requires("XCA-38-101", "ITI TF-2 3.38.4.1.3", needs=(*RESPONDING, "repository"))
def _(stand: Stand) -> None:
    """What is registered in the community is found by a cross-gateway query."""
    entry = provided(stand)
    expect(
        any(
            entry.unique_id in str(one.xpath(".//@value"))
            for one in entries_in(_cross_find(stand, entry.patient_id))
        ),
        "the entry is not found",
    )


@PLAN.requires("XCA-38-102", "ITI TF-2 3.38.4.2.2", needs=(*RESPONDING, "repository"))
def _(stand: Stand) -> None:
    """Every object that is found has the homeCommunityId of the community."""
    entry = provided(stand)
    reply = _cross_find(stand, entry.patient_id).expect_success()
    homes = {str(one.get("home", "")) for one in reply.all("rim:RegistryObjectList/*")}
    expect_equal(homes, {home(stand)}, "home")


@PLAN.requires("XCA-38-103", "ITI TF-2 3.38.4.1.3", needs=RESPONDING)
def _(stand: Stand) -> None:
    """A patient of whom nothing is known is an empty Success."""
    reply = _cross_find(stand, stand.patient_id())
    expect(
        reply.outcome == "Success" or "XDSUnknownPatientId" in reply.codes, f"the status is {reply.outcome}"
    )
    expect_found(entries_in(reply))


@PLAN.requires("XCA-38-104", "ITI TF-2 3.38.4.1.3", needs=RESPONDING)
def _(stand: Stand) -> None:
    """An error has the homeCommunityId as its location."""
    body = query_body(stand.uuid(), {}, home=home(stand))
    reply = stand.soap("responding", Envelope(action=CROSS_QUERY, body=body))
    reply.expect_failure("XDSUnknownStoredQuery")
    expect_equal(reply.errors[0].get("location"), home(stand), "location")


@PLAN.requires("XCA-38-105", "ITI TF-2 3.38.4.1.2", needs=RESPONDING)
def _(stand: Stand) -> None:
    """A query for another community is refused."""
    body = query_body(GET_DOCUMENTS, {"XDSDocumentEntryUniqueId": several(stand.oid())}, home=NOBODY)
    reply = stand.soap("responding", Envelope(action=CROSS_QUERY, body=body))
    reply.expect_failure("XDSUnknownCommunity")


def _cross_retrieve(stand: Stand, of: str, *documents: tuple[str, str], actor: str = "responding") -> Reply:
    action = CROSS_RETRIEVE if actor == "responding" else "urn:ihe:iti:2007:RetrieveDocumentSet"
    body = (
        f"<xds:RetrieveDocumentSetRequest>{requested(*documents, home=of)}</xds:RetrieveDocumentSetRequest>"
    )
    return stand.soap(actor, Envelope(action=action, body=body), parts={})


for _number, _actor in enumerate(("responding", "initiating"), 1):

    def _comes(stand: Stand, actor: str = _actor) -> None:
        entry = provided(stand)
        reply = _cross_retrieve(stand, home(stand), (repository_id(stand), entry.unique_id), actor=actor)
        (document,) = reply.expect_success().all("xds:DocumentResponse/xds:Document")
        expect(reply.content_of(document) == CONTENT, "the document came with other bytes")

    PLAN.add(
        f"XCA-39-10{_number}",
        "ITI TF-2 3.39.4.1.3",
        f"a document comes to the byte through the {_actor} gateway",
        _comes,
        needs=(_actor, "repository"),
    )

    def _home_told(stand: Stand, actor: str = _actor) -> None:
        entry = provided(stand)
        reply = _cross_retrieve(stand, home(stand), (repository_id(stand), entry.unique_id), actor=actor)
        expect_equal(reply.text("//xds:DocumentResponse/xds:HomeCommunityId"), home(stand), "HomeCommunityId")

    PLAN.add(
        f"XCA-39-11{_number}",
        "ITI TF-2 3.39.4.2.2",
        f"a document that comes through the {_actor} gateway names its community",
        _home_told,
        needs=(_actor, "repository"),
    )

    def _unknown_home(stand: Stand, actor: str = _actor) -> None:
        reply = _cross_retrieve(stand, NOBODY, ("2.999.404", stand.oid()), actor=actor)
        reply.expect_failure("XDSUnknownCommunity")

    PLAN.add(
        f"XCA-39-12{_number}",
        "ITI TF-2 3.43.4.2.3",
        f"a community that nobody knows is XDSUnknownCommunity at the {_actor} gateway",
        _unknown_home,
        needs=(_actor,),
    )

    def _no_home(stand: Stand, actor: str = _actor) -> None:
        reply = _cross_retrieve(stand, "", ("2.999.404", stand.oid()), actor=actor)
        reply.expect_failure("XDSMissingHomeCommunityId")

    PLAN.add(
        f"XCA-39-13{_number}",
        "ITI TF-2 3.43.4.2.3",
        f"a document without homeCommunityId is XDSMissingHomeCommunityId at the {_actor} gateway",
        _no_home,
        needs=(_actor,),
    )

    def _partial(stand: Stand, actor: str = _actor) -> None:
        entry = provided(stand)
        repository = repository_id(stand)
        reply = _cross_retrieve(
            stand, home(stand), (repository, entry.unique_id), (repository, stand.oid()), actor=actor
        )
        reply.expect_partial("XDSDocumentUniqueIdError")
        expect_equal(len(reply.all("xds:DocumentResponse")), 1, "documents")

    PLAN.add(
        f"XCA-39-14{_number}",
        "ITI TF-2 3.43.4.2.2",
        f"what is there comes beside the error for what is not, through the {_actor} gateway",
        _partial,
        needs=(_actor, "repository"),
    )

    def _images_come(stand: Stand, actor: str = _actor) -> None:
        study = stored(stand)
        body = asked(
            study.uid, [(one.series, location(stand), one.uid) for one in study.images], home=home(stand)
        )
        action = CROSS_IMAGES if actor == "responding" else "urn:ihe:rad:2009:RetrieveImagingDocumentSet"
        reply = stand.soap(actor, Envelope(action=action, body=body), parts={}).expect_success()
        expect_equal(sorted(delivered(reply)), sorted(one.uid for one in study.images), "the instances")
        right = (
            f"{CROSS_IMAGES}Response"
            if actor == "responding"
            else "urn:ihe:iti:2007:RetrieveDocumentSetResponse"
        )
        expect_equal(reply.action, right, "wsa:Action")

    PLAN.add(
        f"XCA-75-10{_number}",
        "RAD TF-3 4.75.4.1.3",
        f"every instance of a study comes through the {_actor} gateway",
        _images_come,
        needs=(_actor, "dicomweb"),
    )

    def _no_such_image(stand: Stand, actor: str = _actor) -> None:
        study = stored(stand)
        body = asked(study.uid, [(study.images[0].series, location(stand), stand.oid())], home=home(stand))
        action = CROSS_IMAGES if actor == "responding" else "urn:ihe:rad:2009:RetrieveImagingDocumentSet"
        reply = stand.soap(actor, Envelope(action=action, body=body), parts={})
        reply.expect_failure("XDSDocumentUniqueIdError")

    PLAN.add(
        f"XCA-75-11{_number}",
        "RAD TF-3 4.75.4.2.3",
        f"an instance that nobody knows is XDSDocumentUniqueIdError at the {_actor} gateway",
        _no_such_image,
        needs=(_actor, "dicomweb"),
    )


@PLAN.requires("XCA-18-101", "ITI TF-2 3.18.4.1.3", needs=(*INITIATING, "repository"))
def _(stand: Stand) -> None:
    """A consumer finds through the Initiating Gateway what is in the community, with its home."""
    entry = provided(stand)
    parameters: Parameters = {
        "XDSDocumentEntryPatientId": text(entry.patient_id),
        "XDSDocumentEntryStatus": several(APPROVED),
    }
    reply = query(stand, FIND_DOCUMENTS, parameters, actor="initiating", action=QUERY).expect_success()
    homes = {str(one.get("home", "")) for one in entries_in(reply)}
    expect(home(stand) in homes, f"home is {homes}")


@PLAN.requires("XCA-18-102", "ITI TF-2 3.18.4.1.3", needs=INITIATING)
def _(stand: Stand) -> None:
    """A query without patient and without home is refused with XDSMissingHomeCommunityId."""
    reply = stand.soap("initiating", Envelope(action=QUERY, body=_nothing(stand.oid())))
    reply.expect_failure("XDSMissingHomeCommunityId")


@PLAN.requires("XCA-18-103", "ITI TF-2 3.18.4.1.3", needs=INITIATING)
def _(stand: Stand) -> None:
    """A query of a community that nobody knows is refused with XDSUnknownCommunity."""
    body = query_body(GET_DOCUMENTS, {"XDSDocumentEntryUniqueId": several(stand.oid())}, home=NOBODY)
    stand.soap("initiating", Envelope(action=QUERY, body=body)).expect_failure("XDSUnknownCommunity")
