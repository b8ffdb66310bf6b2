"""Metadata values and their ebRIM XML: the one place that writes and reads it (ITI TF-3 4.2).

What is written is strict: prefix `rim` undeclared (the message declares it once, so that a response is a
concatenation of fragments), children in the order of the schema, ids and objectType on everything nested,
labels inside their package.

What is read is tolerated as follows, and nowhere else.

In submissions and answers alike
    - any prefix, order of children, comments, white space around the values of Slots;
    - blank values, and a Slot without values, count as absent (extra metadata keeps blanks);
    - the label of a RegistryPackage beside it in the list instead of inside, or both;
    - no id and no objectType on nested Classifications and ExternalIdentifiers, no Name on the latter, no
      nodeRepresentation on authors, none of the attributes `charset` and `xml:lang`; a language that is none;
    - a hash in upper case, a title of exactly 128 characters, comments longer than the schema's 1,024;
    - VersionInfo without versionName, or with the schema's default 1.1: version 1;
    - `home` in any form; ObjectRefs in a submission, which say nothing.

In submissions
    - a status, a lastUpdateTime, a version: the registry sets its own. Values are decoded as Approved;
    - Slots in a Classification beyond its own are dropped with the warning XDSExtraMetadataNotSaved.

In answers
    - whatever a registry of another kind may write: unknown schemes, Slots of any name and length,
      malformed values; what
      is absent stays empty and stands in `errors`.

Not tolerated in submissions, by policy: upper-case UUIDs, Slot values beyond the schema's 256 characters,
schemes that the object does not have.
"""

from shared.ebrim.decoder import (
    NOTHING,
    DecodedSubmission,
    RegistryObjects,
    decode_association,
    decode_document_entry,
    decode_folder,
    decode_objects,
    decode_submission,
    decode_submission_set,
    parse_fragment,
    required_for_registration,
)
from shared.ebrim.encoder import (
    encode_association,
    encode_document_entry,
    encode_folder,
    encode_object_ref,
    encode_submission,
    encode_submission_set,
    replace_patient_id,
)

__all__ = [
    "NOTHING",
    "DecodedSubmission",
    "RegistryObjects",
    "decode_association",
    "decode_document_entry",
    "decode_folder",
    "decode_objects",
    "decode_submission",
    "decode_submission_set",
    "encode_association",
    "encode_document_entry",
    "encode_folder",
    "encode_object_ref",
    "encode_submission",
    "encode_submission_set",
    "parse_fragment",
    "replace_patient_id",
    "required_for_registration",
]
