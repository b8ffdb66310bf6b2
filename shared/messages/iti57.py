"""Update Document Set [ITI-57]: message semantics (supplement XDS Metadata Update, 3.57.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from shared.ebrim.codec import DecodedSubmission, decode_submission
from shared.ebrim.model import Submission
from shared.errors import Actor
from shared.messages.iti42 import encode_submit_objects
from shared.messages.registry import RegistryResponse, decode_response, failure, response_encoder
from shared.soap.mtom import Attachments, MtomBody
from shared.soap.transaction import SoapTransaction
from shared.xml import NS, Element, child, qname

_DECLARED = f'xmlns:lcm="{NS["lcm"]}" xmlns:rim="{NS["rim"]}"'


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateRequest:
    """A SubmissionSet and the operations that it asks for, or what is wrong with them.

    A new version is a DocumentEntry or Folder whose `logical_id` names its lineage; the other operations are
    associations, and so are the annotations of the new versions (`schemes.METADATA_UPDATE_SLOTS`).
    """

    decoded: DecodedSubmission

    @classmethod
    def of(cls, submission: Submission) -> Self:
        """The request that carries `submission`."""
        return cls(decoded=DecodedSubmission(submission=submission))


def encode_request(request: UpdateRequest) -> MtomBody:
    """Encode `lcm:SubmitObjectsRequest`, with its namespaces."""
    return MtomBody(encode_submit_objects(request.decoded, _DECLARED))


def decode_request(body: Element, _: Attachments) -> UpdateRequest:
    """Decode `lcm:SubmitObjectsRequest`; errors of the metadata stand in the value.

    Raises
    ------
    SenderFault
        There is no RegistryObjectList.
    """
    return UpdateRequest(decoded=decode_submission(child(body, "rim:RegistryObjectList")))


ITI57: SoapTransaction[UpdateRequest, RegistryResponse] = SoapTransaction(
    number="ITI-57",
    name="Update Document Set",
    action="urn:ihe:iti:2010:UpdateDocumentSet",
    response_action="urn:ihe:iti:2010:UpdateDocumentSetResponse",
    body_root=qname("lcm:SubmitObjectsRequest"),
    encode_request=encode_request,
    decode_request=decode_request,
    encode_response=response_encoder(Actor.REGISTRY),
    decode_response=decode_response,
    failure=failure,
)
