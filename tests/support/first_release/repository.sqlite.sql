CREATE TABLE store_probe (id INTEGER NOT NULL PRIMARY KEY, writes BIGINT NOT NULL);
CREATE TABLE document (
    unique_id VARCHAR NOT NULL,
    sha256 VARCHAR NOT NULL,
    sha1 VARCHAR NOT NULL,
    size BIGINT NOT NULL,
    PRIMARY KEY (unique_id)
);
CREATE INDEX document_sha256 ON document (sha256);
CREATE TABLE provision (
    provision_id VARCHAR NOT NULL,
    message_id VARCHAR NOT NULL,
    digest VARCHAR NOT NULL,
    registration_message_id VARCHAR NOT NULL,
    registration BLOB NOT NULL,
    state VARCHAR NOT NULL,
    answer BLOB NOT NULL,
    created FLOAT NOT NULL,
    PRIMARY KEY (provision_id),
    UNIQUE (message_id, digest)
);
CREATE INDEX provision_state_created ON provision (state, created);
CREATE TABLE audit_outbox (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    octets BLOB NOT NULL,
    created TEXT NOT NULL
);
CREATE TABLE provided_document (
    provision_id VARCHAR NOT NULL,
    unique_id VARCHAR NOT NULL,
    patient_id VARCHAR NOT NULL,
    confidentiality VARCHAR NOT NULL,
    class_code VARCHAR NOT NULL,
    type_code VARCHAR NOT NULL,
    mime_type VARCHAR NOT NULL,
    PRIMARY KEY (provision_id, unique_id),
    FOREIGN KEY(provision_id) REFERENCES provision (provision_id),
    FOREIGN KEY(unique_id) REFERENCES document (unique_id)
);
CREATE INDEX provided_document_unique_id ON provided_document (unique_id);
CREATE TABLE removed_document (
    unique_id VARCHAR NOT NULL,
    removed FLOAT NOT NULL,
    PRIMARY KEY (unique_id),
    FOREIGN KEY(unique_id) REFERENCES document (unique_id)
);
CREATE TABLE assembly (
    unique_id VARCHAR NOT NULL,
    provision_id VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    study_instance_uid VARCHAR NOT NULL,
    entry_uuid VARCHAR NOT NULL,
    patient_id VARCHAR NOT NULL,
    source_patient_id VARCHAR NOT NULL,
    confidentiality VARCHAR NOT NULL,
    class_code VARCHAR NOT NULL,
    type_code VARCHAR NOT NULL,
    update_message_id VARCHAR NOT NULL,
    update_message BLOB NOT NULL,
    PRIMARY KEY (unique_id),
    FOREIGN KEY(provision_id) REFERENCES provision (provision_id)
);
CREATE INDEX assembly_study ON assembly (study_instance_uid);
CREATE INDEX assembly_update ON assembly (update_message_id);
CREATE INDEX assembly_provision ON assembly (provision_id);
CREATE TABLE snapshot (
    provision_id VARCHAR NOT NULL,
    on_demand_unique_id VARCHAR NOT NULL,
    number INTEGER NOT NULL,
    unique_id VARCHAR NOT NULL,
    entry_uuid VARCHAR NOT NULL,
    PRIMARY KEY (provision_id),
    UNIQUE (on_demand_unique_id, number),
    FOREIGN KEY(provision_id) REFERENCES provision (provision_id)
);
INSERT INTO store_probe (id, writes) VALUES (1, 0);
