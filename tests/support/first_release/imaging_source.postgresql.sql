CREATE TABLE IF NOT EXISTS store_probe (
    id INTEGER NOT NULL,
    writes BIGINT NOT NULL,
    PRIMARY KEY (id)
)
;
INSERT INTO store_probe (id, writes) VALUES (1, 0) ON CONFLICT DO NOTHING;
CREATE TABLE IF NOT EXISTS audit_outbox (
    id BIGSERIAL NOT NULL,
    octets BYTEA NOT NULL,
    created TEXT NOT NULL,
    PRIMARY KEY (id)
)
;
CREATE TABLE IF NOT EXISTS described_study (
    study_instance_uid TEXT NOT NULL,
    document_unique_id TEXT NOT NULL,
    patient_id TEXT NOT NULL,
    department_patient_id TEXT NOT NULL,
    confidentiality TEXT NOT NULL,
    class_code TEXT NOT NULL,
    type_code TEXT NOT NULL,
    PRIMARY KEY (study_instance_uid)
)
;
CREATE TABLE IF NOT EXISTS instance (
    sop_instance_uid TEXT NOT NULL,
    study_instance_uid TEXT NOT NULL,
    series_instance_uid TEXT NOT NULL,
    sop_class_uid TEXT NOT NULL,
    transfer_syntax_uid TEXT NOT NULL,
    size BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    patient_id TEXT NOT NULL,
    issuer_local TEXT NOT NULL,
    issuer_universal_id TEXT NOT NULL,
    issuer_universal_id_type TEXT NOT NULL,
    accession_number TEXT NOT NULL,
    modality TEXT NOT NULL,
    series_number BIGINT,
    instance_number BIGINT,
    number_of_frames INTEGER NOT NULL,
    rows INTEGER,
    columns INTEGER,
    samples_per_pixel INTEGER NOT NULL,
    bits_allocated INTEGER,
    has_pixels INTEGER NOT NULL,
    metadata_size INTEGER NOT NULL,
    received_at TEXT NOT NULL,
    header BYTEA NOT NULL,
    PRIMARY KEY (sop_instance_uid)
)
;
CREATE INDEX IF NOT EXISTS instance_of_patient ON instance (patient_id);
CREATE INDEX IF NOT EXISTS instance_by_sha256 ON instance (sha256);
CREATE INDEX IF NOT EXISTS instance_of_series ON instance (study_instance_uid, series_instance_uid);
CREATE TABLE IF NOT EXISTS instance_metadata (
    sop_instance_uid TEXT NOT NULL,
    json BYTEA NOT NULL,
    PRIMARY KEY (sop_instance_uid)
)
;
CREATE TABLE IF NOT EXISTS pixel_data (
    sop_instance_uid TEXT NOT NULL,
    "offset" BIGINT NOT NULL,
    length BIGINT NOT NULL,
    fragments BYTEA,
    PRIMARY KEY (sop_instance_uid)
)
;
CREATE TABLE IF NOT EXISTS publication (
    publication_id TEXT NOT NULL,
    study_instance_uid TEXT NOT NULL,
    serial INTEGER NOT NULL,
    patient_id TEXT NOT NULL,
    department_patient_id TEXT NOT NULL,
    confidentiality TEXT NOT NULL,
    class_code TEXT NOT NULL,
    type_code TEXT NOT NULL,
    digest TEXT NOT NULL,
    message_id TEXT NOT NULL,
    entry_uuid TEXT NOT NULL,
    replacement_uuid TEXT NOT NULL,
    document_unique_id TEXT NOT NULL,
    submission_set_unique_id TEXT NOT NULL,
    document BYTEA NOT NULL,
    submission BYTEA NOT NULL,
    replaces TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    in_doubt INTEGER NOT NULL,
    due BIGINT NOT NULL,
    lease_until BIGINT NOT NULL,
    errors TEXT NOT NULL,
    created BIGINT NOT NULL,
    changed BIGINT NOT NULL,
    PRIMARY KEY (publication_id)
)
;
CREATE INDEX IF NOT EXISTS publication_due ON publication (state, due);
CREATE UNIQUE INDEX IF NOT EXISTS publication_of_study ON publication (study_instance_uid, serial);
CREATE TABLE IF NOT EXISTS transfer (
    transfer_id TEXT NOT NULL,
    sender BYTEA NOT NULL,
    PRIMARY KEY (transfer_id)
)
;
CREATE TABLE IF NOT EXISTS transfer_content (
    transfer_id TEXT NOT NULL,
    study_instance_uid TEXT NOT NULL,
    patient_id TEXT NOT NULL,
    sop_class_uid TEXT NOT NULL,
    fate TEXT NOT NULL,
    number INTEGER NOT NULL,
    last_at TEXT NOT NULL,
    PRIMARY KEY (transfer_id, study_instance_uid, patient_id, sop_class_uid, fate)
);
