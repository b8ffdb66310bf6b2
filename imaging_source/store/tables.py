"""The tables of the imaging source, and for each index the question that it serves."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, Table, Text

metadata = MetaData()
MIGRATIONS = "imaging_source.store:migrations"

# The row makes an instance visible; its file is durable before. One SOP Instance UID is one instance,
# whatever study it claims to be of. `header` is DICOM JSON of the attributes that a manifest or a search
# needs, and `attributes` those of them that are of no level above (NULL in rows of an older release); numbers
# that a file does not have, or spells as something else, are NULL. `received_at` is ISO 8601 in UTC.
instance = Table(
    "instance",
    metadata,
    Column("sop_instance_uid", Text, primary_key=True),
    Column("study_instance_uid", Text, nullable=False),
    Column("series_instance_uid", Text, nullable=False),
    Column("sop_class_uid", Text, nullable=False),
    Column("transfer_syntax_uid", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("patient_id", Text, nullable=False),
    Column("issuer_local", Text, nullable=False),
    Column("issuer_universal_id", Text, nullable=False),
    Column("issuer_universal_id_type", Text, nullable=False),
    Column("accession_number", Text, nullable=False),
    Column("modality", Text, nullable=False),
    Column("series_number", BigInteger),
    Column("instance_number", BigInteger),
    Column("number_of_frames", Integer, nullable=False),
    Column("rows", Integer),
    Column("columns", Integer),
    Column("samples_per_pixel", Integer, nullable=False),
    Column("bits_allocated", Integer),
    Column("has_pixels", Integer, nullable=False),
    Column("metadata_size", Integer, nullable=False),
    Column("received_at", Text, nullable=False),
    Column("header", LargeBinary, nullable=False),
    Column("attributes", LargeBinary),
    # A study, a series: RAD-69, RAD-107, the manifest.
    Index("instance_of_series", "study_instance_uid", "series_instance_uid"),
    # Whether another row keeps a file, when one that nothing refers to is looked for.
    Index("instance_by_sha256", "sha256"),
    # Studies of a patient.
    Index("instance_of_patient", "patient_id"),
    # What came lately, at whichever host.
    Index("instance_by_arrival", "received_at"),
)

# DICOM JSON of the whole data set (PS3.18 annex F), as `/metadata` gives it but for the base of bulk data
# URIs.
instance_metadata = Table(
    "instance_metadata",
    metadata,
    Column("sop_instance_uid", Text, primary_key=True),
    Column("json", LargeBinary, nullable=False),
)

# Where the pixels are in the file: native from `offset`, or fragments (`shared.imaging.transcoder`).
pixel_data = Table(
    "pixel_data",
    metadata,
    Column("sop_instance_uid", Text, primary_key=True),
    Column("offset", BigInteger, nullable=False),
    Column("length", BigInteger, nullable=False),
    Column("fragments", LargeBinary),
)

# Whose a study is, as its first instance says, or a person; `issuer` is an OID or a local name.
study_patient = Table(
    "study_patient",
    metadata,
    Column("study_instance_uid", Text, primary_key=True),
    Column("patient_id", Text, nullable=False),
    Column("issuer", Text, nullable=False),
)

# Who sent instances of a study: AE titles that called, subjects of nodes that came by HTTP.
study_sender = Table(
    "study_sender",
    metadata,
    Column("study_instance_uid", Text, primary_key=True),
    Column("sender", Text, primary_key=True),
)

# Newcomers that are in conflict with their study: kept, and shared with nobody until a person decides.
set_aside = Table(
    "set_aside",
    metadata,
    Column("sop_instance_uid", Text, primary_key=True),
    Column("study_instance_uid", Text, nullable=False),
    Column("conflict", Text, nullable=False),
    # Each retrieval of a study.
    Index("set_aside_of_study", "study_instance_uid"),
)

# What is compared by more or less, as bytes are.
_ORDERED = Text().with_variant(Text(collation="C"), "postgresql")

# Studies as they are searched, by what their first visible instance `sop_instance_uid` says: `attributes` are
# DICOM JSON of those of the study and its patient. `patient_name` is folded, with an equals sign before the
# name of several groups; `study_date` is YYYYMMDD, or empty. Of a study that is hidden
# as a whole there is no row.
study = Table(
    "study",
    metadata,
    Column("study_instance_uid", _ORDERED, primary_key=True),
    Column("received_at", _ORDERED, nullable=False),
    Column("sop_instance_uid", Text, nullable=False),
    Column("patient_id", Text, nullable=False),
    Column("patient_name", _ORDERED, nullable=False),
    Column("accession_number", Text, nullable=False),
    Column("study_date", _ORDERED, nullable=False),
    Column("attributes", LargeBinary, nullable=False),
    # Matches come in this order, so that what arrives comes behind the pages that were read.
    Index("study_by_arrival", "received_at", "study_instance_uid"),
    # What is searched for most, in that order.
    Index("study_of_patient", "patient_id", "received_at", "study_instance_uid"),
    Index("study_by_name", "patient_name", "received_at"),
    Index("study_by_accession", "accession_number", "received_at", "study_instance_uid"),
    Index("study_by_date", "study_date", "received_at", "study_instance_uid"),
)

# Series likewise.
series = Table(
    "series",
    metadata,
    Column("study_instance_uid", _ORDERED, primary_key=True),
    Column("series_instance_uid", _ORDERED, primary_key=True),
    Column("received_at", _ORDERED, nullable=False),
    Column("sop_instance_uid", Text, nullable=False),
    Column("modality", Text, nullable=False),
    Column("attributes", LargeBinary, nullable=False),
    # A series without its study.
    Index("series_by_uid", "series_instance_uid"),
    # Matches come in this order.
    Index("series_by_arrival", "received_at", "series_instance_uid"),
    # Modalities in Study.
    Index("series_of_modality", "modality", "study_instance_uid"),
)

# Studies that came before there were rows of studies, until they have theirs.
uncatalogued_study = Table(
    "uncatalogued_study",
    metadata,
    Column("study_instance_uid", Text, primary_key=True),
)

# What came in one association or request and stands in no audit event yet: written with the instances, in the
# same transaction; removed when the event is durable. What a crash leaves becomes an event at the next start.
transfer = Table(
    "transfer",
    metadata,
    Column("transfer_id", Text, primary_key=True),
    Column("sender", LargeBinary, nullable=False),
)
transfer_content = Table(
    "transfer_content",
    metadata,
    Column("transfer_id", Text, primary_key=True),
    Column("study_instance_uid", Text, primary_key=True),
    Column("patient_id", Text, primary_key=True),
    Column("sop_class_uid", Text, primary_key=True),
    Column("fate", Text, primary_key=True),
    Column("number", Integer, nullable=False),
    Column("last_at", Text, nullable=False),
)

# Other data sets that came under the UID of an instance: `replaced` ones were the instance until another took
# their place, `refused` ones never were. Their contents are kept, and given to nobody.
other_version = Table(
    "other_version",
    metadata,
    Column("sop_instance_uid", Text, primary_key=True),
    Column("sha256", Text, primary_key=True),
    Column("study_instance_uid", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("fate", Text, nullable=False),
    Column("noted_at", Text, nullable=False),
    # Whether another row keeps a file.
    Index("other_version_by_sha256", "sha256"),
)

# FHIR document Bundles that are registered with manifests; each is of a publication.
published_bundle = Table(
    "published_bundle",
    metadata,
    Column("publication_id", Text, primary_key=True),
    Column("study_instance_uid", Text, nullable=False),
    Column("document_unique_id", Text, nullable=False),
    Column("document", LargeBinary, nullable=False),
    # Whether both encodings of a study agree.
    Index("published_bundle_of_study", "study_instance_uid"),
)

# Instances that were erased. What a crash left of their contents is not adopted.
erased_instance = Table(
    "erased_instance",
    metadata,
    Column("sop_instance_uid", Text, primary_key=True),
    Column("sha256", Text, primary_key=True),
    Column("study_instance_uid", Text, nullable=False),
    Column("erased_at", Text, nullable=False),
    # Contents without a row.
    Index("erased_instance_by_sha256", "sha256"),
    # What an archive lists of a study, and was erased here.
    Index("erased_instance_of_study", "study_instance_uid"),
)

# Instances whose contents an archive keeps, by its name in the settings; `digest` is of what it told of them.
# Their rows are like others', and their files are copies that may go.
archived_instance = Table(
    "archived_instance",
    metadata,
    Column("sop_instance_uid", Text, primary_key=True),
    Column("study_instance_uid", Text, nullable=False),
    Column("archive", Text, nullable=False),
    Column("digest", Text, nullable=False),
    # What an archive lists of a study, and what of it is known.
    Index("archived_instance_of_study", "study_instance_uid"),
)

# What the drift watch found last of a study: `kinds` with blanks between, `noticed_at` ISO 8601 in UTC.
drift = Table(
    "drift",
    metadata,
    Column("study_instance_uid", Text, primary_key=True),
    Column("kinds", Text, nullable=False),
    Column("noticed_at", Text, nullable=False),
    Column("needs_person", Integer, nullable=False),
    # What waits for a decision.
    Index("drift_for_persons", "needs_person"),
)

# Requests for storage commitment (RAD-10): which instances, the result once it is decided, and when it is due
# to be looked at or reported next; NULL when it was reported, or given up. `commitment_id` is made of all
# that was asked, so that a request that comes again is the same one.
commitment = Table(
    "commitment",
    metadata,
    Column("commitment_id", Text, primary_key=True),
    Column("ae_title", Text, nullable=False),
    Column("transaction_uid", Text, nullable=False),
    Column("received_at", Text, nullable=False),
    Column("due_at", Text),
    Column("attempts", Integer, nullable=False),
    Column("instances", LargeBinary, nullable=False),
    Column("result", LargeBinary),
    # What is due.
    Index("commitment_by_time", "due_at"),
    # Whether a Transaction UID was used for other instances.
    Index("commitment_of_transaction", "transaction_uid", "ae_title"),
)

# Instances of which storage commitment was answered with success.
committed_instance = Table(
    "committed_instance",
    metadata,
    Column("sop_instance_uid", Text, primary_key=True),
)

# Messages of HL7 that were acknowledged, so that a retry is acknowledged alike.
hl7_message = Table(
    "hl7_message",
    metadata,
    Column("control_id", Text, primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("acknowledgement", LargeBinary, nullable=False),
    Column("created", Text, nullable=False),
    # What is forgotten.
    Index("hl7_message_by_time", "created"),
)

# How the order of a study stands, as messages said last, whether or not the study is here; `name` is
# `study UID`, or `accession number`, `patients` are the ids of PID-3 as JSON.
study_order = Table(
    "study_order",
    metadata,
    Column("name", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("patients", LargeBinary, nullable=False),
    Column("received_at", Text, nullable=False),
    # What is forgotten.
    Index("study_order_by_time", "received_at"),
)

# Studies of patients whom a message corrected, until their manifests were compared with the registry.
corrected_study = Table(
    "corrected_study",
    metadata,
    Column("study_instance_uid", Text, primary_key=True),
    Column("noted_at", Text, nullable=False),
    Column("due_at", Text, nullable=False),
    # What is to be looked at now.
    Index("corrected_study_by_time", "due_at"),
)
