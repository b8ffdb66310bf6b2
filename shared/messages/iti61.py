"""Register On-Demand Document Entry [ITI-61]: the messages of ITI-42 under its own actions (ITI TF-2 3.61.4).

The response action is the one whose name is not that of the request: the framework leaves out `Entry`.
Clients take both.
"""

from __future__ import annotations

from dataclasses import replace

from shared.messages.iti42 import ITI42, RegisterRequest
from shared.messages.registry import RegistryResponse
from shared.soap.transaction import SoapTransaction

RESPONSE_ACTION = "urn:ihe:iti:2010:RegisterOnDemandDocumentResponse"

ITI61: SoapTransaction[RegisterRequest, RegistryResponse] = replace(
    ITI42,
    number="ITI-61",
    name="Register On-Demand Document Entry",
    action="urn:ihe:iti:2010:RegisterOnDemandDocumentEntry",
    response_action=RESPONSE_ACTION,
)
