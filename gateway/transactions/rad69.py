"""Retrieve Imaging Document Set [RAD-69] at the Initiating Gateway: expected actions (RAD TF-3 4.69,
4.75).

Each instance is asked for where its homeCommunityId leads: at our own imaging sources, or across gateways by
RAD-75. What cannot be had is an error beside what can, located at the instance.
"""

from __future__ import annotations

from gateway.transactions.images import IMAGES
from gateway.transactions.retrievals import from_everybody, served
from shared.messages.rad69 import RAD69

SERVED = served(RAD69, IMAGES, from_everybody)
