"""Register Document Set-b [ITI-42]: message semantics (ITI TF-2 3.42.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from shared.ebrim.codec import DecodedSubmission, decode_submission, encode_submission
from shared.ebrim.model import Submission
from shared.errors import Actor
from shared.messages.registry import (
    RegistryResponse,
    decode_response,
    failure,
    response_encoder,
)
from shared.soap.mtom import Attachments, MtomBody
from shared.soap.transaction import SoapTransaction
from shared.xml import NS, Element, child, qname

_DECLARED = f'xmlns:lcm="{NS["lcm"]}" xmlns:rim="{NS["rim"]}"'


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterRequest:
    """A submission, or what is wrong with it."""

    decoded: DecodedSubmission

    @classmethod
    def of(cls, submission: Submission) -> Self:
        """The request that registers `submission`."""
        return cls(decoded=DecodedSubmission(submission=submission))


def encode_request(request: RegisterRequest) -> MtomBody:
    """Encode `lcm:SubmitObjectsRequest`, with its namespaces."""
    return MtomBody(encode_submit_objects(request.decoded, _DECLARED))


def encode_submit_objects(decoded: DecodedSubmission, declared: str = "") -> bytes:
    """`lcm:SubmitObjectsRequest`; `declared` holds the declarations of `lcm` and `rim` unless a parent has
    them.

    Raises
    ------
    ValueError
        There is no submission to encode.
    """
    if decoded.submission is None:
        raise ValueError("a submission that could not be decoded cannot be sent on")
    head = f"<lcm:SubmitObjectsRequest {declared}>" if declared else "<lcm:SubmitObjectsRequest>"
    return b"".join((head.encode(), encode_submission(decoded.submission), b"</lcm:SubmitObjectsRequest>"))


def decode_request(body: Element, _: Attachments) -> RegisterRequest:
    """Decode `lcm:SubmitObjectsRequest`; errors of the metadata stand in the value.

    Raises
    ------
    SenderFault
        There is no RegistryObjectList.
    """
    return RegisterRequest(decoded=decode_submission(child(body, "rim:RegistryObjectList")))


ITI42: SoapTransaction[RegisterRequest, RegistryResponse] = SoapTransaction(
    number="ITI-42",
    name="Register Document Set-b",
    action="urn:ihe:iti:2007:RegisterDocumentSet-b",
    response_action="urn:ihe:iti:2007:RegisterDocumentSet-bResponse",
    body_root=qname("lcm:SubmitObjectsRequest"),
    encode_request=encode_request,
    decode_request=decode_request,
    encode_response=response_encoder(Actor.REGISTRY),
    decode_response=decode_response,
    failure=failure,
)
