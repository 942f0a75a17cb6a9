-- Times are milliseconds since 1970, ids 16 bytes, hashes 32 bytes, enums their names, lists JSON.
-- No foreign keys and no triggers: every step that touches two tables does so in one transaction of the store's code.

-- Counters that outlive every row they count.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY NOT NULL,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- `served` numbers the turns given when tasks are claimed; `pings` shows that the store can be written.
INSERT INTO meta (name, value) VALUES ('served', 0), ('pings', 0);

CREATE TABLE accounts (
    id         BLOB PRIMARY KEY NOT NULL,
    email      TEXT NOT NULL,
    plan       TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    built_in   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
    id          BLOB PRIMARY KEY NOT NULL,
    account     BLOB NOT NULL,
    environment TEXT NOT NULL,
    hash        BLOB NOT NULL UNIQUE,
    prefix      TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    revoked_at  INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX keys_by_account ON keys (account, created_at);

CREATE TABLE secrets (
    id          BLOB PRIMARY KEY NOT NULL,
    account     BLOB NOT NULL,
    environment TEXT NOT NULL,
    sealed      BLOB NOT NULL,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX secrets_by_scope ON secrets (account, environment, created_at);

CREATE TABLE usage (
    account     BLOB NOT NULL,
    environment TEXT NOT NULL,
    day         INTEGER NOT NULL, -- days since 1970, UTC
    pages       INTEGER NOT NULL,
    succeeded   INTEGER NOT NULL,
    time_ms     INTEGER NOT NULL,
    PRIMARY KEY (account, environment, day)
) STRICT, WITHOUT ROWID;

CREATE TABLE jobs (
    id              BLOB PRIMARY KEY NOT NULL,
    account         BLOB NOT NULL,
    environment     TEXT NOT NULL,
    kind            TEXT NOT NULL,
    status          TEXT NOT NULL,
    options         TEXT NOT NULL,
    webhook_url     TEXT,
    created_at      INTEGER NOT NULL,
    started_at      INTEGER,
    completed_at    INTEGER,
    expires_at      INTEGER,
    cancelled_at    INTEGER,
    error           TEXT,
    results_deleted INTEGER NOT NULL DEFAULT 0,
    -- Counters, so that finishing and listing look at no task.
    total           INTEGER NOT NULL,
    succeeded       INTEGER NOT NULL DEFAULT 0,
    failed          INTEGER NOT NULL DEFAULT 0,
    segments        INTEGER NOT NULL DEFAULT 0,
    result_bytes    INTEGER NOT NULL DEFAULT 0,
    tasks_left      INTEGER NOT NULL, -- not finished
    tasks_claimable INTEGER NOT NULL, -- pending
    served          INTEGER NOT NULL DEFAULT 0 -- the turn it was last served in; 0 for none
) STRICT, WITHOUT ROWID;
CREATE INDEX jobs_by_scope ON jobs (account, environment, id);
CREATE INDEX jobs_by_status ON jobs (account, environment, status, id);
CREATE INDEX jobs_by_kind ON jobs (account, environment, kind, id);
CREATE INDEX jobs_open ON jobs (status) WHERE status IN ('pending', 'started');
CREATE INDEX jobs_runnable ON jobs (account, served, id) WHERE tasks_claimable > 0;
CREATE INDEX jobs_kept ON jobs (expires_at) WHERE results_deleted = 0 AND expires_at IS NOT NULL;
CREATE INDEX jobs_expired ON jobs (completed_at) WHERE results_deleted = 1;

-- The accounts' turns: `runnable` counts the account's jobs that have a pending task.
CREATE TABLE turns (
    account  BLOB PRIMARY KEY NOT NULL,
    served   INTEGER NOT NULL DEFAULT 0,
    runnable INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX turns_runnable ON turns (served, account) WHERE runnable > 0;

-- Apart from the jobs, whose rows are rewritten with every finished task.
CREATE TABLE inputs (
    job      BLOB PRIMARY KEY NOT NULL,
    bytes    BLOB, -- either these
    blob_key TEXT  -- or this
) STRICT, WITHOUT ROWID;

CREATE TABLE tasks (
    job              BLOB NOT NULL,
    seq              INTEGER NOT NULL,
    state            TEXT NOT NULL, -- pending, leased, finished
    epoch            INTEGER NOT NULL DEFAULT 0,
    owner            BLOB,
    lease_expires_at INTEGER,
    input_offset     INTEGER NOT NULL,
    input_bytes      INTEGER NOT NULL,
    first            INTEGER NOT NULL,
    urls             INTEGER NOT NULL,
    PRIMARY KEY (job, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX tasks_pending ON tasks (job, seq) WHERE state = 'pending';
CREATE INDEX tasks_leased ON tasks (lease_expires_at) WHERE state = 'leased';

-- With row ids, since rows hold up to 32 KiB.
CREATE TABLE segments (
    job       BLOB NOT NULL,
    seq       INTEGER NOT NULL,
    position  INTEGER NOT NULL, -- within the task
    first     INTEGER NOT NULL,
    count     INTEGER NOT NULL,
    raw_bytes INTEGER NOT NULL,
    sha256    BLOB NOT NULL,
    blob_key  TEXT, -- either this
    bytes     BLOB  -- or these
) STRICT;
CREATE UNIQUE INDEX segments_by_task ON segments (job, seq, position);

CREATE TABLE idempotency (
    account     BLOB NOT NULL,
    environment TEXT NOT NULL,
    key         TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    answer      TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (account, environment, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_age ON idempotency (created_at);

CREATE TABLE deliveries (
    id                  BLOB PRIMARY KEY NOT NULL,
    job                 BLOB NOT NULL UNIQUE,
    account             BLOB NOT NULL,
    environment         TEXT NOT NULL,
    url                 TEXT NOT NULL,
    status              TEXT NOT NULL,
    created_at          INTEGER NOT NULL,
    first_attempt_at    INTEGER,
    last_attempt_at     INTEGER,
    next_attempt_at     INTEGER, -- kept while an attempt is under way
    delivered_at        INTEGER,
    attempts            INTEGER NOT NULL DEFAULT 0,
    automatic_attempts  INTEGER NOT NULL DEFAULT 0,
    next_trigger        TEXT NOT NULL, -- while an attempt is under way: its own
    replay_requested_at INTEGER, -- asked for while an automatic attempt was under way
    epoch               INTEGER NOT NULL DEFAULT 0,
    owner               BLOB,
    lease_expires_at    INTEGER -- null when nobody holds it
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_by_scope ON deliveries (account, environment, id);
CREATE INDEX deliveries_by_status ON deliveries (account, environment, status, id);
CREATE INDEX deliveries_due ON deliveries (next_attempt_at, id)
    WHERE lease_expires_at IS NULL AND next_attempt_at IS NOT NULL;
CREATE INDEX deliveries_leased ON deliveries (lease_expires_at) WHERE lease_expires_at IS NOT NULL;
CREATE INDEX deliveries_undelivered ON deliveries (status) WHERE status IN ('pending', 'failed');

CREATE TABLE attempts (
    id               BLOB NOT NULL,
    delivery         BLOB NOT NULL,
    number           INTEGER NOT NULL,
    trigger          TEXT NOT NULL,
    started_at       INTEGER NOT NULL,
    request_headers  TEXT NOT NULL,
    request_bytes    INTEGER NOT NULL,
    remote           TEXT,
    response_status  INTEGER,
    response_headers TEXT NOT NULL,
    response_body    BLOB NOT NULL,
    timings          TEXT NOT NULL,
    error            TEXT
) STRICT;
CREATE UNIQUE INDEX attempts_by_delivery ON attempts (delivery, number);
