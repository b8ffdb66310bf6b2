"""Retrieve Document Set [ITI-43] at the Initiating Gateway: expected actions (ITI TF-2 3.43.4.1.3).

Each document is asked for where its homeCommunityId leads: at our own repositories, or across gateways by
ITI-39. What cannot be had is an error beside what can.
"""

from __future__ import annotations

from gateway.transactions.documents import DOCUMENTS
from gateway.transactions.retrievals import from_everybody, served
from shared.messages.iti43 import ITI43

SERVED = served(ITI43, DOCUMENTS, from_everybody)
