"""The doors of every service, and the right that each of them needs: one table (ITI TF-1 9)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Right(StrEnum):
    """What a node may do; the value is its name among the settings `XDSI_RIGHTS__…`."""

    FEED = "feed"
    SUBMIT = "submit"
    UPDATE = "update"
    STORE = "store"
    REJECT = "reject"
    PUBLISH = "publish"
    ASK = "ask"
    CROSS = "cross"
    POLICIES = "policies"
    CONSENT = "consent"
    TRAIL = "trail"
    RECORD = "record"
    TEST = "test"

    @property
    def setting(self) -> str:
        """The setting that names further nodes with this right."""
        return "XDSI_COMMUNITY_GATEWAYS" if self is Right.CROSS else f"XDSI_RIGHTS__{self.upper()}"


#: The door of a rejection note (IOCM), which comes as an instance.
REJECTION_NOTE: Final = "rejection note"
#: The door of a consent document, which comes as a document (ITI-41, ITI-42).
CONSENT_DOCUMENT: Final = "consent document"

#: The right that each door needs: a transaction by its number, a DIMSE service by its name. What is served
#: over REST names its right itself (`shared.rest.served`). What has none is open to every node that TLS let
#: in: health, metrics, descriptions, and the form by which people sign in.
DOORS: Final[Mapping[str, Right]] = {
    # patient identities
    "ITI-8": Right.FEED,
    "ITI-44": Right.FEED,
    # orders and reports of a department, and its patients
    "RAD-12": Right.FEED,
    "RAD-13": Right.FEED,
    "RAD-128": Right.FEED,
    # documents and their metadata; RAD-68 is an ITI-41
    "ITI-41": Right.SUBMIT,
    "ITI-42": Right.SUBMIT,
    "ITI-61": Right.SUBMIT,
    # changing and removing what is there; a user's role is asked for beside it
    "ITI-57": Right.UPDATE,
    "ITI-62": Right.UPDATE,
    "ITI-86": Right.UPDATE,
    "ITI-92": Right.UPDATE,
    # instances
    "C-ECHO": Right.STORE,
    "C-STORE": Right.STORE,
    "N-ACTION": Right.STORE,
    REJECTION_NOTE: Right.REJECT,
    CONSENT_DOCUMENT: Right.CONSENT,
    # queries and retrievals for a user, whom consent decides about
    "ITI-18": Right.ASK,
    "ITI-43": Right.ASK,
    "ITI-51": Right.ASK,
    "RAD-69": Right.ASK,
    # an assertion for a user who proves to be one
    "RST-Issue": Right.ASK,
    "C-FIND": Right.ASK,
    "C-GET": Right.ASK,
    "C-MOVE": Right.ASK,
    # gateways of other communities
    "ITI-38": Right.CROSS,
    "ITI-39": Right.CROSS,
    "RAD-75": Right.CROSS,
    # the trail
    "ITI-20": Right.RECORD,
}
