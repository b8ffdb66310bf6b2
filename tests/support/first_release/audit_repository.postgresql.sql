CREATE TABLE IF NOT EXISTS store_probe (
    id INTEGER NOT NULL,
    writes BIGINT NOT NULL,
    PRIMARY KEY (id)
)
;
INSERT INTO store_probe (id, writes) VALUES (1, 0) ON CONFLICT DO NOTHING;
CREATE TABLE IF NOT EXISTS audit_checkpoint (
    sequence BIGINT NOT NULL,
    chain TEXT NOT NULL,
    time TEXT NOT NULL,
    previous TEXT NOT NULL,
    signature BYTEA NOT NULL,
    PRIMARY KEY (sequence)
)
;
CREATE TABLE IF NOT EXISTS audit_head (
    number INTEGER NOT NULL,
    partition TEXT NOT NULL,
    first BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    begin TEXT NOT NULL,
    chain TEXT NOT NULL,
    signature BYTEA NOT NULL,
    PRIMARY KEY (number)
)
;
CREATE TABLE IF NOT EXISTS audit_record (
    sequence BIGINT NOT NULL,
    partition TEXT NOT NULL,
    received TEXT NOT NULL,
    peer TEXT NOT NULL,
    subject TEXT NOT NULL,
    raw BYTEA NOT NULL,
    digest TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    event_time TEXT NOT NULL,
    event TEXT NOT NULL,
    outcome INTEGER,
    terms TEXT NOT NULL,
    chain TEXT NOT NULL,
    PRIMARY KEY (sequence),
    UNIQUE (digest)
)
;
CREATE INDEX IF NOT EXISTS audit_record_event_time ON audit_record (event_time, sequence);
CREATE TABLE IF NOT EXISTS audit_term (
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    PRIMARY KEY (kind, value, sequence)
)
;
CREATE INDEX IF NOT EXISTS audit_term_sequence ON audit_term (sequence);
