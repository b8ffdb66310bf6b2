"""The tables of the registry, and for each index the query that it serves.

Objects of all four classes share one table, and the patient is the first part of each of its unique keys, so
that it can be divided and distributed by patient. What must be unique over all patients, and what leads from
an id to its patient, is the table `identifier`: it is written first, and a row of it is the lock of what it
names. `fragment` is the object's ebRIM as it is sent; the columns beside it hold what queries, rules and
consent ask for, and always equal what the fragment says; only the patient of an association is that of its
submission set.

Spelling in columns: codes are `value^^scheme`, times fourteen digits, patient ids `str(CX)`, statuses and
object types their URNs; texts are in Unicode normal form C. What an object of its class does not have is
NULL.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    and_,
)

from registry.store.partitions import BY_HASH
from shared.audit.outbox import audit_outbox as outbox_table
from shared.ebrim.model import AvailabilityStatus

METADATA = MetaData()
MIGRATIONS = "registry.store:migrations"

#: Grows when `shared.ebrim.codec` writes fragments in another way.
ENCODING_VERSION = 1

registry_object = Table(
    "registry_object",
    METADATA,
    Column("patient_id", Text, primary_key=True),
    Column("entry_uuid", Text, primary_key=True),
    Column("object_class", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("unique_id", Text),
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
    Column("document_availability", Text),  # NULL is Online
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
    # Every class
    Column("metadata_level", Integer, nullable=False),  # 1, or 2 for what only level 2 shows
    Column("encoding_version", Integer, nullable=False),
    Column("fragment", LargeBinary, nullable=False),
    postgresql_partition_by=BY_HASH,
)


def _where(condition: ColumnElement[bool]) -> dict[str, Any]:
    return {"sqlite_where": condition, "postgresql_where": condition}


# FindDocuments, FindSubmissionSets, FindFolders, GetAll; merges.
Index(
    "registry_object_of_patient",
    registry_object.c.patient_id,
    registry_object.c.object_class,
    registry_object.c.status,
)
# Get… by uniqueId.
Index(
    "registry_object_by_unique_id",
    registry_object.c.patient_id,
    registry_object.c.unique_id,
    **_where(registry_object.c.unique_id.is_not(None)),
)
# GetAssociations, contents of sets and folders, folder memberships to carry over.
Index(
    "registry_object_by_source",
    registry_object.c.patient_id,
    registry_object.c.source_object,
    registry_object.c.association_type,
    **_where(registry_object.c.source_object.is_not(None)),
)
# GetAssociations, GetSubmissionSets, GetFoldersForDocument, GetRelatedDocuments; cascades of a replacement.
Index(
    "registry_object_by_target",
    registry_object.c.patient_id,
    registry_object.c.target_object,
    registry_object.c.association_type,
    **_where(registry_object.c.target_object.is_not(None)),
)
_HAS_VERSIONS = registry_object.c.logical_id.is_not(None)
# One version of its number for each logicalID, all versions of one.
Index(
    "registry_object_version",
    registry_object.c.patient_id,
    registry_object.c.logical_id,
    registry_object.c.version,
    unique=True,
    **_where(_HAS_VERSIONS),
)
# One Approved version for each logicalID.
Index(
    "registry_object_approved_version",
    registry_object.c.patient_id,
    registry_object.c.logical_id,
    unique=True,
    **_where(and_(_HAS_VERSIONS, registry_object.c.status == str(AvailabilityStatus.APPROVED))),
)

#: Attributes with several values: codes, author persons, reference ids; the primary key serves every filter.
object_value = Table(
    "object_value",
    METADATA,
    Column("patient_id", Text, primary_key=True),
    Column("entry_uuid", Text, primary_key=True),
    Column("attribute", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    sqlite_with_rowid=False,
    postgresql_partition_by=BY_HASH,
)
# ITI-51 without patients: these lead to the objects, in every partition.
Index(
    "registry_object_by_class_code",
    registry_object.c.class_code,
    **_where(registry_object.c.class_code.is_not(None)),
)
Index(
    "registry_object_by_facility_type",
    registry_object.c.healthcare_facility_type_code,
    **_where(registry_object.c.healthcare_facility_type_code.is_not(None)),
)
for _name, _attribute in (("event_code", "eventCodeList"), ("folder_code", "codeList")):
    Index(
        f"object_value_by_{_name}",
        object_value.c.value,
        object_value.c.patient_id,
        object_value.c.entry_uuid,
        **_where(object_value.c.attribute == _attribute),
    )

#: Each entryUUID, uniqueId and logicalID once, with the patient to whom it leads and, for the uniqueId of a
#: document, the content that it names: what makes racing submissions agree, and the lock of what it names.
identifier = Table(
    "identifier",
    METADATA,
    Column("identifier", Text, primary_key=True),
    Column("object_class", Text, nullable=False),
    # Of an entryUUID the patient of its object; NULL when nothing has or names the identifier any more.
    Column("patient_id", Text),
    Column("content_hash", Text),  # lower case; NULL for what is no Stable document
    Column("size", BigInteger),
    sqlite_with_rowid=False,
)
#: The further patients to whom an identifier leads: their objects have or name it too.
shared_identifier = Table(
    "shared_identifier",
    METADATA,
    Column("identifier", Text, primary_key=True),
    Column("patient_id", Text, primary_key=True),
    sqlite_with_rowid=False,
)
# Merges.
Index("shared_identifier_of_patient", shared_identifier.c.patient_id)

patient = Table(
    "patient",
    METADATA,
    Column("patient_id", Text, primary_key=True),
    Column("survivor", Text, nullable=False),  # itself, until it is merged away; never a chain
    # 1 of both patients of a merge whose objects are still being moved.
    Column("merging", Integer, nullable=False, server_default="0"),
    sqlite_with_rowid=False,
)
# Merges: whoever was merged into the subsumed patient before.
Index("patient_by_survivor", patient.c.survivor)
# Merges that are to be finished.
Index("patient_merging", patient.c.patient_id, **_where(patient.c.merging == 1))

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

#: Consent documents and resources as they came; policies that were translated from one name it as source.
consent_document = Table(
    "consent_document",
    METADATA,
    Column("source", Text, primary_key=True),
    Column("format_code", Text, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("created", Text, nullable=False),
)

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

#: Assertions for one use that were used, by a digest of issuer and id, until they expire by themselves.
used_assertion = Table(
    "used_assertion",
    METADATA,
    Column("key", Text, primary_key=True),
    Column("until", Text, nullable=False),
    sqlite_with_rowid=False,
)
# Forgetting those that have expired.
Index("used_assertion_by_end", used_assertion.c.until)

audit_outbox = outbox_table(METADATA)
