"""Patient Identity Feed HL7 V3 [ITI-44]: what a registry needs of the three interactions, and the
acknowledgement (ITI TF-2 3.44.4).

Each interaction is a transaction of its own on the wire, with its own action and root. Demographics are not
read. Tolerated in requests: any order of children, ids of other assigning authorities beside ours, ids with a
nullFlavor, an absent sender or receiver.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from uuid import uuid4

from lxml import etree

from shared.ebrim.identifiers import WHITE_SPACE
from shared.errors import Actor, RelayedError, Severity, XdsError
from shared.faults import SenderFault
from shared.soap.mtom import Attachments, MtomBody
from shared.soap.transaction import SoapTransaction
from shared.xml import NS, Element, attribute, child, escape, escape_attribute, qname, text

HL7 = NS["hl7"]
#: The authority of the names of interactions.
INTERACTIONS = "2.16.840.1.113883.1.6"
ACKNOWLEDGEMENT = "MCCI_IN000002UV01"
ACKNOWLEDGEMENT_ACTION = f"{HL7}:{ACKNOWLEDGEMENT}"

_PATHS = {"hl7": HL7}
_EVENT = "hl7:controlActProcess/hl7:subject/hl7:registrationEvent"
_PATIENT = "hl7:subject1/hl7:patient/hl7:id"
_REPLACED = "hl7:replacementOf/hl7:priorRegistration"
_PRIOR = "hl7:subject1/hl7:priorRegisteredRole/hl7:id"
_DEVICE = "hl7:device/hl7:id"
_DETAIL = "hl7:acknowledgementDetail/hl7:text"


class Interaction(StrEnum):
    """What a message says of a patient; the value is the name of its root."""

    ADD = "PRPA_IN201301UV02"
    REVISE = "PRPA_IN201302UV02"
    MERGE = "PRPA_IN201304UV02"


class AcknowledgementCode(StrEnum):
    """Whether a message was accepted."""

    ACCEPT = "CA"
    ERROR = "CE"


@dataclass(frozen=True, slots=True)
class InstanceId:
    """An HL7 v3 II: an assigning authority (or the whole id, as an OID or UUID) and the id that it gave."""

    root: str = ""
    extension: str = ""

    def __str__(self) -> str:
        """`extension@root`, or the bare root: how the audit trail shows it."""
        return f"{self.extension}@{self.root}" if self.extension else self.root


Ids = tuple[InstanceId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientFeedRequest:
    """One message of the feed; `patients` holds the patient's ids of each registration event.

    `priors` holds the ids of each registration that a merge replaces. `octets` is the message as it was
    received, by which a retry is known.
    """

    interaction: Interaction
    message_id: InstanceId
    patients: tuple[Ids, ...]
    priors: tuple[Ids, ...] = ()
    sender: Ids = ()
    receiver: Ids = ()
    octets: bytes = field(default=b"", compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """The accept acknowledgement of the message `target`; an error says that nothing was changed.

    `target` is None where the message was not looked at. `sender` and `receiver` are those of the
    acknowledgement.
    """

    target: InstanceId | None = None
    errors: tuple[XdsError, ...] = ()
    sender: Ids = ()
    receiver: Ids = ()

    @property
    def code(self) -> AcknowledgementCode:
        """CA, or CE beside errors."""
        return AcknowledgementCode.ERROR if self.errors else AcknowledgementCode.ACCEPT

    @classmethod
    def to(cls, request: PatientFeedRequest, *errors: XdsError) -> Acknowledgement:
        """The acknowledgement of `request`."""
        return cls(target=request.message_id, errors=errors, sender=request.receiver, receiver=request.sender)


def failure(errors: Sequence[XdsError]) -> Acknowledgement:
    """The acknowledgement of a message that was not looked at."""
    return Acknowledgement(errors=tuple(errors))


# --- reading ------------------------------------------------------------------------------------------


def decode_request(body: Element, _: Attachments) -> PatientFeedRequest:
    """Decode one of the three interactions; ids stay as they are.

    Raises
    ------
    SenderFault
        The message has no id, or no canonical form.
    """
    message = child(body, "hl7:id")
    events = body.findall(_EVENT, _PATHS)
    replaced = [replacement for event in events for replacement in event.iterfind(_REPLACED, _PATHS)]
    return PatientFeedRequest(
        interaction=Interaction(etree.QName(body).localname),
        message_id=InstanceId(attribute(message, "root"), message.get("extension", "")),
        patients=tuple(_ids(event.iterfind(_PATIENT, _PATHS)) for event in events),
        priors=tuple(_ids(replacement.iterfind(_PRIOR, _PATHS)) for replacement in replaced),
        sender=_ids(body.iterfind(f"hl7:sender/{_DEVICE}", _PATHS)),
        receiver=_ids(body.iterfind(f"hl7:receiver/{_DEVICE}", _PATHS)),
        octets=_canonical(body),
    )


def _canonical(body: Element) -> bytes:
    try:
        return etree.tostring(body, method="c14n")
    except etree.C14NError:
        raise SenderFault("the message declares a namespace that is no absolute URI") from None


def _ids(elements: Iterable[Element]) -> Ids:
    return tuple(
        InstanceId(each.get("root", "").strip(WHITE_SPACE), each.get("extension", "").strip(WHITE_SPACE))
        for each in elements
        if each.get("nullFlavor") is None
    )


def decode_response(element: Element, _: Attachments) -> Acknowledgement:
    """Decode the acknowledgement; what is neither CA nor AA is an error.

    Raises
    ------
    SenderFault
        There is no acknowledgement, or none with a code.
    """
    acknowledgement = child(element, "hl7:acknowledgement")
    target = child(acknowledgement, "hl7:targetMessage").find("hl7:id", _PATHS)
    code = attribute(child(acknowledgement, "hl7:typeCode"), "code")
    return Acknowledgement(
        target=next(iter(_ids([] if target is None else [target])), None),
        errors=() if code in (AcknowledgementCode.ACCEPT, "AA") else tuple(_told(acknowledgement)),
        sender=_ids(element.iterfind(f"hl7:sender/{_DEVICE}", _PATHS)),
        receiver=_ids(element.iterfind(f"hl7:receiver/{_DEVICE}", _PATHS)),
    )


def _told(acknowledgement: Element) -> Iterator[XdsError]:
    details = [
        each.find("hl7:text", _PATHS)
        for each in acknowledgement.iterfind("hl7:acknowledgementDetail", _PATHS)
    ]
    texts = [text(detail) for detail in details if detail is not None]
    for context in texts or ["the peer refuses the message and does not say why"]:
        yield RelayedError("XDSRegistryError", context, severity=Severity.ERROR)


# --- writing ------------------------------------------------------------------------------------------


def encode_request(request: PatientFeedRequest) -> MtomBody:
    """Encode an interaction with nothing but its ids, and the name of nobody (nullFlavor)."""
    return MtomBody("".join(_message(request)).encode())


def _message(request: PatientFeedRequest) -> Iterator[str]:
    yield f'<{request.interaction} xmlns="{HL7}" ITSVersion="XML_1.0">'
    yield from _head(request.message_id, str(request.interaction), accept="AL")
    yield from _device("receiver", "RCV", request.receiver)
    yield from _device("sender", "SND", request.sender)
    yield '<controlActProcess classCode="CACT" moodCode="EVN">'
    for patient in request.patients:
        yield '<subject typeCode="SUBJ"><registrationEvent classCode="REG" moodCode="EVN">'
        yield '<id nullFlavor="NA"/><statusCode code="active"/>'
        yield f'<subject1 typeCode="SBJ"><patient classCode="PAT">{_encoded(patient)}'
        yield '<statusCode code="active"/><patientPerson><name nullFlavor="NA"/></patientPerson>'
        yield '<providerOrganization classCode="ORG" determinerCode="INSTANCE">'
        yield f'{_encoded(request.sender) or _UNKNOWN}<contactParty classCode="CON"/></providerOrganization>'
        yield "</patient></subject1>"
        yield from _custodian(request)
        yield from map(_replacement, request.priors)
        yield "</registrationEvent></subject>"
    yield f"</controlActProcess></{request.interaction}>"


def _custodian(request: PatientFeedRequest) -> Iterator[str]:
    yield '<custodian typeCode="CST"><assignedEntity classCode="ASSIGNED">'
    yield f"{_encoded(request.sender) or _UNKNOWN}</assignedEntity></custodian>"


def _replacement(prior: Ids) -> str:
    return (
        '<replacementOf typeCode="RPLC"><priorRegistration classCode="REG" moodCode="EVN">'
        '<statusCode code="obsolete"/><subject1 typeCode="SBJ"><priorRegisteredRole classCode="PAT">'
        f"{_encoded(prior)}</priorRegisteredRole></subject1></priorRegistration></replacementOf>"
    )


def encode_response(response: Acknowledgement) -> MtomBody:
    """Encode `MCCI_IN000002UV01`."""
    return MtomBody("".join(_acknowledgement(response)).encode())


def _acknowledgement(response: Acknowledgement) -> Iterator[str]:
    yield f'<{ACKNOWLEDGEMENT} xmlns="{HL7}" ITSVersion="XML_1.0">'
    yield from _head(InstanceId(str(uuid4())), ACKNOWLEDGEMENT, accept="NE")
    yield from _device("receiver", "RCV", response.receiver)
    yield from _device("sender", "SND", response.sender)
    target = _encoded((response.target,)) if response.target else _UNKNOWN
    yield f'<acknowledgement><typeCode code="{response.code}"/><targetMessage>{target}</targetMessage>'
    for error in response.errors:
        yield f'<acknowledgementDetail typeCode="E"><code code="{error.code_for(Actor.REGISTRY)}"/>'
        yield f"<text>{escape(error.context)}</text></acknowledgementDetail>"
    yield f"</acknowledgement></{ACKNOWLEDGEMENT}>"


_UNKNOWN = '<id nullFlavor="UNK"/>'


def _encoded(ids: Ids) -> str:
    return "".join(map(_id, ids))


def _id(one: InstanceId) -> str:
    extension = f' extension="{escape_attribute(one.extension)}"' if one.extension else ""
    return f'<id root="{escape_attribute(one.root)}"{extension}/>'


def _head(message_id: InstanceId, interaction: str, *, accept: str) -> Iterator[str]:
    yield _id(message_id)
    yield f'<creationTime value="{datetime.now(UTC):%Y%m%d%H%M%S}"/>'
    yield f'<interactionId root="{INTERACTIONS}" extension="{interaction}"/>'
    yield f'<processingCode code="P"/><processingModeCode code="T"/><acceptAckCode code="{accept}"/>'


def _device(name: str, function: str, ids: Ids) -> Iterator[str]:
    yield f'<{name} typeCode="{function}"><device classCode="DEV" determinerCode="INSTANCE">'
    yield f"{_encoded(ids) or _UNKNOWN}</device></{name}>"


# --- the three ----------------------------------------------------------------------------------------


def _transaction(interaction: Interaction) -> SoapTransaction[PatientFeedRequest, Acknowledgement]:
    return SoapTransaction(
        number="ITI-44",
        name="Patient Identity Feed HL7 V3",
        action=f"{HL7}:{interaction}",
        response_action=ACKNOWLEDGEMENT_ACTION,
        body_root=qname(f"hl7:{interaction}"),
        encode_request=encode_request,
        decode_request=decode_request,
        encode_response=encode_response,
        decode_response=decode_response,
        failure=failure,
    )


ITI44_ADD, ITI44_REVISE, ITI44_MERGE = map(_transaction, Interaction)
