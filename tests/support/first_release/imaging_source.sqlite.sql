CREATE TABLE store_probe (id INTEGER NOT NULL PRIMARY KEY, writes BIGINT NOT NULL);
CREATE TABLE instance (
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
    header BLOB NOT NULL,
    PRIMARY KEY (sop_instance_uid)
);
CREATE INDEX instance_of_patient ON instance (patient_id);
CREATE INDEX instance_by_sha256 ON instance (sha256);
CREATE INDEX instance_of_series ON instance (study_instance_uid, series_instance_uid);
CREATE TABLE instance_metadata (
    sop_instance_uid TEXT NOT NULL,
    json BLOB NOT NULL,
    PRIMARY KEY (sop_instance_uid)
);
CREATE TABLE pixel_data (
    sop_instance_uid TEXT NOT NULL,
    "offset" BIGINT NOT NULL,
    length BIGINT NOT NULL,
    fragments BLOB,
    PRIMARY KEY (sop_instance_uid)
);
CREATE TABLE transfer (
    transfer_id TEXT NOT NULL,
    sender BLOB NOT NULL,
    PRIMARY KEY (transfer_id)
);
CREATE TABLE transfer_content (
    transfer_id TEXT NOT NULL,
    study_instance_uid TEXT NOT NULL,
    patient_id TEXT NOT NULL,
    sop_class_uid TEXT NOT NULL,
    fate TEXT NOT NULL,
    number INTEGER NOT NULL,
    last_at TEXT NOT NULL,
    PRIMARY KEY (transfer_id, study_instance_uid, patient_id, sop_class_uid, fate)
);
CREATE TABLE publication (
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
    document BLOB NOT NULL,
    submission BLOB NOT NULL,
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
);
CREATE INDEX publication_due ON publication (state, due);
CREATE UNIQUE INDEX publication_of_study ON publication (study_instance_uid, serial);
CREATE TABLE described_study (
    study_instance_uid TEXT NOT NULL,
    document_unique_id TEXT NOT NULL,
    patient_id TEXT NOT NULL,
    department_patient_id TEXT NOT NULL,
    confidentiality TEXT NOT NULL,
    class_code TEXT NOT NULL,
    type_code TEXT NOT NULL,
    PRIMARY KEY (study_instance_uid)
);
CREATE TABLE audit_outbox (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    octets BLOB NOT NULL,
    created TEXT NOT NULL
);
INSERT INTO store_probe (id, writes) VALUES (1, 0);
