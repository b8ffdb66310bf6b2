"""The tables of the registry, and for each index the query that it serves.

Objects of all four classes share one table: entryUUIDs are unique over all of them, associations name any of
them, and one lock order holds for all. `fragment` is the object's ebRIM as it is sent; the columns beside it
hold what queries, rules and consent ask for, and always equal what the fragment says.

Spelling in columns: codes are `value^^scheme`, times fourteen digits, patient ids `str(CX)`, statuses and
object types their URNs; texts are in Unicode normal form C. What an object of its class does not have is
NULL.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, Table, Text

from shared.audit.outbox import audit_outbox as outbox_table

METADATA = MetaData()

#: Grows when `shared.ebrim.codec` writes fragments in another way.
ENCODING_VERSION = 1

registry_object = Table(
    "registry_object",
    METADATA,
    Column("entry_uuid", Text, primary_key=True),
    Column("object_class", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("unique_id", Text),
    Column("patient_id", Text),
    Column("object_type", Text),
    Column("logical_id", Text),
    Column("version", Integer),
    # DocumentEntry
    Column("class_code", Text),
    Column("type_code", Text),
    Column("format_code", Text),
    Column("practice_setting_code", Text),
    Column("healthcare_facility_type_code", Text),
    Column("confidentiality", Text),  # codes joined by line feeds, for consent
    Column("creation_time", Text),
    Column("service_start_time", Text),
    Column("service_stop_time", Text),
    # SubmissionSet
    Column("source_id", Text),
    Column("submission_time", Text),
    Column("content_type_code", Text),
    # Folder
    Column("last_update_time", Text),
    # Association
    Column("association_type", Text),
    Column("source_object", Text),
    Column("target_object", Text),
    Column("submission_set_status", Text),
    Column("encoding_version", Integer, nullable=False),
    Column("fragment", LargeBinary, nullable=False),
)

# FindDocuments, FindSubmissionSets, FindFolders, GetAll; merges.
Index(
    "registry_object_of_patient",
    registry_object.c.patient_id,
    registry_object.c.object_class,
    registry_object.c.status,
)
# Get… by uniqueId.
Index("registry_object_by_unique_id", registry_object.c.unique_id)
# GetAssociations, contents of sets and folders, folder memberships to carry over.
Index("registry_object_by_source", registry_object.c.source_object, registry_object.c.association_type)
# GetAssociations, GetSubmissionSets, GetFoldersForDocument, GetRelatedDocuments; cascades of a replacement.
Index("registry_object_by_target", registry_object.c.target_object, registry_object.c.association_type)
# One version of its number for each logicalID, all versions of one.
Index("registry_object_version", registry_object.c.logical_id, registry_object.c.version, unique=True)

#: Attributes with several values: codes, author persons, reference ids; the primary key serves every filter.
object_value = Table(
    "object_value",
    METADATA,
    Column("entry_uuid", Text, primary_key=True),
    Column("attribute", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    sqlite_with_rowid=False,
)

#: Each uniqueId once, with the content that belongs to it: what makes two racing submissions agree.
unique_id = Table(
    "unique_id",
    METADATA,
    Column("unique_id", Text, primary_key=True),
    Column("object_class", Text, nullable=False),
    Column("content_hash", Text, nullable=False),  # lower case; empty for what is no Stable document
    Column("size", BigInteger),
    sqlite_with_rowid=False,
)

patient = Table(
    "patient",
    METADATA,
    Column("patient_id", Text, primary_key=True),
    Column("survivor", Text, nullable=False),  # itself, until it is merged away; never a chain
    sqlite_with_rowid=False,
)
# Merges: whoever was merged into the subsumed patient before.
Index("patient_by_survivor", patient.c.survivor)

consent = Table(
    "consent",
    METADATA,
    Column("policy_id", Text, primary_key=True),
    Column("patient_id", Text, nullable=False),
    Column("policy", Text, nullable=False),  # JSON
    sqlite_with_rowid=False,
)
# Every decision: the policies of a patient.
Index("consent_of_patient", consent.c.patient_id)

#: Submissions that were answered with Success, to answer a retry alike (same MessageID, same content).
submission = Table(
    "submission",
    METADATA,
    Column("message_id", Text, primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("response", LargeBinary, nullable=False),
    Column("created", Text, nullable=False),
    sqlite_with_rowid=False,
)

#: Feed messages that were acknowledged, to acknowledge a retry alike (same sender, MSH-10 and bytes).
feed_message = Table(
    "feed_message",
    METADATA,
    Column("control_id", Text, primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("acknowledgement", LargeBinary, nullable=False),
    Column("created", Text, nullable=False),
    sqlite_with_rowid=False,
)

audit_outbox = outbox_table(METADATA)
