CREATE TABLE store_probe (id INTEGER NOT NULL PRIMARY KEY, writes BIGINT NOT NULL);
CREATE TABLE audit_record (
    sequence BIGINT NOT NULL,
    partition TEXT NOT NULL,
    received TEXT NOT NULL,
    peer TEXT NOT NULL,
    subject TEXT NOT NULL,
    raw BLOB NOT NULL,
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
);
CREATE INDEX audit_record_event_time ON audit_record (event_time, sequence);
CREATE TABLE audit_term (
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    PRIMARY KEY (kind, value, sequence)
)
 WITHOUT ROWID;
CREATE INDEX audit_term_sequence ON audit_term (sequence);
CREATE TABLE audit_head (
    number INTEGER NOT NULL,
    partition TEXT NOT NULL,
    first BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    "begin" TEXT NOT NULL,
    chain TEXT NOT NULL,
    signature BLOB NOT NULL,
    PRIMARY KEY (number)
);
CREATE TABLE audit_checkpoint (
    sequence BIGINT NOT NULL,
    chain TEXT NOT NULL,
    time TEXT NOT NULL,
    previous TEXT NOT NULL,
    signature BLOB NOT NULL,
    PRIMARY KEY (sequence)
);
INSERT INTO store_probe (id, writes) VALUES (1, 0);
