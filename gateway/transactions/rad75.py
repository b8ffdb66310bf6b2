"""Cross Gateway Retrieve Imaging Document Set [RAD-75] at the Responding Gateway: expected actions (RAD
TF-3 4.75.4.1.3).

The imaging sources of our community are asked by RAD-69. Errors have our homeCommunityId as location, and
name the instance in their text.
"""

from __future__ import annotations

from gateway.transactions.images import IMAGES
from gateway.transactions.retrievals import from_our_own, served
from shared.messages.rad75 import RAD75

SERVED = served(RAD75, IMAGES, from_our_own)
