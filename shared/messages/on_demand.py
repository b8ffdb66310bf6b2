"""A document made on demand: what a repository asks its provider, and what comes back.

No transaction of IHE, where an On-Demand Document Source and what makes its documents are one actor. Here
they are two services, which speak plain JSON over HTTP; it is for nodes of the community alone.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import asdict, dataclass

from shared.ebrim.codec import decode_submission, encode_submission, parse_fragment
from shared.ebrim.model import Submission
from shared.xml import XmlError

PATH = "/api/manifest"

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""Longest answer that is read: a manifest of about 200,000 instances."""


class UnreadableManifest(ValueError):
    """An answer that is none; the text shows nothing of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestRequest:
    """The manifest of a study as it is now; `patient_id` is a CX of the affinity domain, or empty for the
    study's own.

    With `on_demand` the manifest gets a uniqueId of its own: the same for the same content, which
    `document_unique_id`, that of the On-Demand entry, is part of. Without, it gets `document_unique_id`.
    """

    study_instance_uid: str
    patient_id: str = ""
    document_unique_id: str
    on_demand: bool

    def encode(self) -> bytes:
        """The request as JSON."""
        return json.dumps(asdict(self)).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeManifest:
    """A manifest, and the submission of one DocumentEntry that would register it as a Stable document."""

    submission: Submission
    document: bytes

    def encode(self) -> bytes:
        """The answer as JSON."""
        return json.dumps(
            {
                "submission": encode_submission(self.submission).decode(),
                "document": base64.b64encode(self.document).decode(),
            }
        ).encode()

    @classmethod
    def decode(cls, octets: bytes) -> MadeManifest:
        """Read an answer.

        Raises
        ------
        UnreadableManifest
            It is not of this form, or its metadata are not in order.
        """
        try:
            answer = json.loads(octets)
            document = base64.b64decode(answer["document"], validate=True)
            decoded = decode_submission(parse_fragment(answer["submission"].encode()))
        except (ValueError, KeyError, TypeError, AttributeError, binascii.Error, XmlError):
            raise UnreadableManifest("the answer is not of the form that was agreed on") from None
        if decoded.submission is None or decoded.errors or len(decoded.submission.document_entries) != 1:
            raise UnreadableManifest("the answer's metadata do not describe one document")
        return cls(submission=decoded.submission, document=document)
