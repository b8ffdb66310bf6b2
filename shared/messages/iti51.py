"""Multi-Patient Stored Query [ITI-51]: the messages of ITI-18 under its own actions (ITI TF-2 3.51.4)."""

from __future__ import annotations

from dataclasses import replace

from shared.messages.iti18 import ITI18, StoredQueryRequest, StoredQueryResponse
from shared.soap.transaction import SoapTransaction

ITI51: SoapTransaction[StoredQueryRequest, StoredQueryResponse] = replace(
    ITI18,
    number="ITI-51",
    name="Multi-Patient Stored Query",
    action="urn:ihe:iti:2009:MultiPatientStoredQuery",
    response_action="urn:ihe:iti:2009:MultiPatientStoredQueryResponse",
)
