"""Restricted Update Document Set [ITI-92]: message semantics (supplement Restricted Metadata Update, 3.92.4).

The message is that of ITI-57; a receiver takes new versions of DocumentEntries alone.
"""

from __future__ import annotations

from shared.errors import Actor
from shared.messages.iti57 import UpdateRequest, decode_request, encode_request
from shared.messages.registry import RegistryResponse, decode_response, failure, response_encoder
from shared.soap.transaction import SoapTransaction
from shared.xml import qname

ITI92: SoapTransaction[UpdateRequest, RegistryResponse] = SoapTransaction(
    number="ITI-92",
    name="Restricted Update Document Set",
    action="urn:ihe:iti:2018:RestrictedUpdateDocumentSet",
    response_action="urn:ihe:iti:2018:RestrictedUpdateDocumentSetResponse",
    body_root=qname("lcm:SubmitObjectsRequest"),
    encode_request=encode_request,
    decode_request=decode_request,
    encode_response=response_encoder(Actor.REGISTRY),
    decode_response=decode_response,
    failure=failure,
)
