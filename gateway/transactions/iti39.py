"""Cross Gateway Retrieve [ITI-39] at the Responding Gateway: expected actions (ITI TF-2 3.39.4.1.3).

The repositories of our community are asked by ITI-43. Errors have our homeCommunityId as location, and name
the document in their text.
"""

from __future__ import annotations

from gateway.transactions.documents import DOCUMENTS
from gateway.transactions.retrievals import from_our_own, served
from shared.messages.iti39 import ITI39

SERVED = served(ITI39, DOCUMENTS, from_our_own)
