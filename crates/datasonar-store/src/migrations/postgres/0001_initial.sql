-- The tables of the embedded store, in PostgreSQL's types: what each column holds is told in ../sqlite. Times are milliseconds since
-- 1970, ids 16 bytes, hashes 32 bytes, enums their names, lists JSON, booleans 0 and 1. Rows that are rewritten often have room beside them.
-- No foreign keys and no triggers: every step that touches two tables does so in one transaction of the store's code.

CREATE TABLE meta (
    name TEXT NOT NULL,
    value BIGINT NOT NULL,
    PRIMARY KEY (name)
) WITH (fillfactor = 20);

CREATE TABLE accounts (
    id BYTEA NOT NULL,
    email TEXT NOT NULL,
    plan TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    built_in BIGINT NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE keys (
    id BYTEA NOT NULL,
    account BYTEA NOT NULL,
    environment TEXT NOT NULL,
    hash BYTEA NOT NULL UNIQUE,
    prefix TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT,
    PRIMARY KEY (id)
);
CREATE INDEX keys_by_account ON keys (account, created_at);

CREATE TABLE secrets (
    id BYTEA NOT NULL,
    account BYTEA NOT NULL,
    environment TEXT NOT NULL,
    sealed BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    PRIMARY KEY (id)
);
CREATE INDEX secrets_by_scope ON secrets (account, environment, created_at);

CREATE TABLE usage (
    account BYTEA NOT NULL,
    environment TEXT NOT NULL,
    day BIGINT NOT NULL,
    pages BIGINT NOT NULL,
    succeeded BIGINT NOT NULL,
    time_ms BIGINT NOT NULL,
    PRIMARY KEY (account, environment, day)
) WITH (fillfactor = 50);

CREATE TABLE jobs (
    id BYTEA NOT NULL,
    account BYTEA NOT NULL,
    environment TEXT NOT NULL,
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    options TEXT NOT NULL,
    webhook_url TEXT,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    completed_at BIGINT,
    expires_at BIGINT,
    cancelled_at BIGINT,
    error TEXT,
    results_deleted BIGINT NOT NULL DEFAULT 0,
    total BIGINT NOT NULL,
    succeeded BIGINT NOT NULL DEFAULT 0,
    failed BIGINT NOT NULL DEFAULT 0,
    segments BIGINT NOT NULL DEFAULT 0,
    result_bytes BIGINT NOT NULL DEFAULT 0,
    tasks_left BIGINT NOT NULL,
    tasks_claimable BIGINT NOT NULL,
    served BIGINT NOT NULL DEFAULT 0,
    webhook_host TEXT,
    PRIMARY KEY (id)
) WITH (fillfactor = 60);
CREATE INDEX jobs_by_scope ON jobs (account, environment, id);
CREATE INDEX jobs_by_status ON jobs (account, environment, status, id);
CREATE INDEX jobs_by_kind ON jobs (account, environment, kind, id);
CREATE INDEX jobs_open ON jobs (status) WHERE status IN ('pending', 'started');
CREATE INDEX jobs_runnable ON jobs (account, served, id) WHERE tasks_claimable > 0;
CREATE INDEX jobs_kept ON jobs (expires_at) WHERE results_deleted = 0 AND expires_at IS NOT NULL;
CREATE INDEX jobs_expired ON jobs (completed_at) WHERE results_deleted = 1;
CREATE INDEX jobs_ended ON jobs (account, environment, completed_at, id) WHERE completed_at IS NOT NULL;

CREATE TABLE turns (
    account BYTEA NOT NULL,
    served BIGINT NOT NULL DEFAULT 0,
    runnable BIGINT NOT NULL,
    PRIMARY KEY (account)
) WITH (fillfactor = 50);
CREATE INDEX turns_runnable ON turns (served, account) WHERE runnable > 0;

CREATE TABLE inputs (
    job BYTEA NOT NULL,
    bytes BYTEA,
    blob_key TEXT,
    PRIMARY KEY (job)
);

CREATE TABLE tasks (
    job BYTEA NOT NULL,
    seq BIGINT NOT NULL,
    state TEXT NOT NULL,
    epoch BIGINT NOT NULL DEFAULT 0,
    owner BYTEA,
    lease_expires_at BIGINT,
    input_offset BIGINT NOT NULL,
    input_bytes BIGINT NOT NULL,
    first BIGINT NOT NULL,
    urls BIGINT NOT NULL,
    depth BIGINT,
    PRIMARY KEY (job, seq)
) WITH (fillfactor = 80);
CREATE INDEX tasks_pending ON tasks (job, seq) WHERE state = 'pending';
CREATE INDEX tasks_leased ON tasks (lease_expires_at) WHERE state = 'leased';
CREATE INDEX tasks_held ON tasks (job, depth, seq) WHERE state = 'held';

CREATE TABLE segments (
    job BYTEA NOT NULL,
    seq BIGINT NOT NULL,
    position BIGINT NOT NULL,
    first BIGINT NOT NULL,
    count BIGINT NOT NULL,
    raw_bytes BIGINT NOT NULL,
    sha256 BYTEA NOT NULL,
    blob_key TEXT,
    bytes BYTEA
);
CREATE UNIQUE INDEX segments_by_task ON segments (job, seq, position);

CREATE TABLE idempotency (
    account BYTEA NOT NULL,
    environment TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint BYTEA NOT NULL,
    answer TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (account, environment, key)
);
CREATE INDEX idempotency_by_age ON idempotency (created_at);

CREATE TABLE deliveries (
    id BYTEA NOT NULL,
    job BYTEA NOT NULL UNIQUE,
    account BYTEA NOT NULL,
    environment TEXT NOT NULL,
    url TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    first_attempt_at BIGINT,
    last_attempt_at BIGINT,
    next_attempt_at BIGINT,
    delivered_at BIGINT,
    attempts BIGINT NOT NULL DEFAULT 0,
    automatic_attempts BIGINT NOT NULL DEFAULT 0,
    next_trigger TEXT NOT NULL,
    replay_requested_at BIGINT,
    epoch BIGINT NOT NULL DEFAULT 0,
    owner BYTEA,
    lease_expires_at BIGINT,
    host TEXT COLLATE "C" NOT NULL DEFAULT '',
    lane TEXT NOT NULL DEFAULT 'first',
    schedule_ended BIGINT NOT NULL DEFAULT 0,
    era BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (id)
) WITH (fillfactor = 80);
CREATE INDEX deliveries_by_scope ON deliveries (account, environment, id);
CREATE INDEX deliveries_by_status ON deliveries (account, environment, status, id);
CREATE INDEX deliveries_leased ON deliveries (lease_expires_at) WHERE lease_expires_at IS NOT NULL;
CREATE INDEX deliveries_undelivered ON deliveries (status) WHERE status IN ('pending', 'failed');
CREATE INDEX deliveries_due ON deliveries (lane, host, next_attempt_at, id)
    WHERE lease_expires_at IS NULL AND next_attempt_at IS NOT NULL;
CREATE INDEX deliveries_next ON deliveries (next_attempt_at)
    WHERE lease_expires_at IS NULL AND next_attempt_at IS NOT NULL;
CREATE INDEX deliveries_by_age ON deliveries (account, environment, created_at, id);
CREATE INDEX deliveries_replaying ON deliveries (account, environment)
    WHERE next_trigger = 'replay' OR replay_requested_at IS NOT NULL;

CREATE TABLE attempts (
    id BYTEA NOT NULL,
    delivery BYTEA NOT NULL,
    number BIGINT NOT NULL,
    trigger TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    request_headers TEXT NOT NULL,
    request_bytes BIGINT NOT NULL,
    remote TEXT,
    response_status BIGINT,
    response_headers TEXT NOT NULL,
    response_body BYTEA NOT NULL,
    timings TEXT NOT NULL,
    error TEXT
);
CREATE UNIQUE INDEX attempts_by_delivery ON attempts (delivery, number);

CREATE TABLE replays (
    id BYTEA NOT NULL,
    account BYTEA NOT NULL,
    environment TEXT NOT NULL,
    of_status TEXT,
    of_since BIGINT,
    of_until BIGINT,
    of_url TEXT,
    era BIGINT NOT NULL,
    status TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    completed_at BIGINT,
    matched BIGINT NOT NULL,
    replayed BIGINT NOT NULL DEFAULT 0,
    cursor_at BIGINT NOT NULL,
    cursor BYTEA NOT NULL,
    turn BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (id)
);
CREATE INDEX replays_by_scope ON replays (account, environment, id);
CREATE INDEX replays_started ON replays (turn, id) WHERE status = 'started';
CREATE INDEX replays_ended ON replays (completed_at) WHERE completed_at IS NOT NULL;

CREATE TABLE crawls (
    job BYTEA NOT NULL,
    max_pages BIGINT NOT NULL,
    admitted BIGINT NOT NULL,
    tasks BIGINT NOT NULL,
    level BIGINT NOT NULL,
    level_left BIGINT NOT NULL,
    listed BIGINT NOT NULL DEFAULT 0,
    robots BIGINT NOT NULL DEFAULT 0,
    out_of_scope BIGINT NOT NULL DEFAULT 0,
    duplicate BIGINT NOT NULL DEFAULT 0,
    over_limit BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (job)
) WITH (fillfactor = 50);

CREATE TABLE seen (
    job BYTEA NOT NULL,
    key BYTEA NOT NULL,
    position BIGINT,
    PRIMARY KEY (job, key)
);

CREATE TABLE found (
    job BYTEA NOT NULL,
    seq BIGINT NOT NULL,
    urls TEXT NOT NULL
);
CREATE UNIQUE INDEX found_by_task ON found (job, seq);

CREATE TABLE skipped (
    job BYTEA NOT NULL,
    number BIGINT NOT NULL,
    reason TEXT NOT NULL,
    url TEXT NOT NULL,
    key BYTEA,
    PRIMARY KEY (job, number)
);
CREATE INDEX skipped_by_key ON skipped (job, key) WHERE key IS NOT NULL;
CREATE INDEX skipped_over_limit ON skipped (job, number) WHERE reason = 'over_limit';

CREATE TABLE schedules (
    id BYTEA NOT NULL,
    account BYTEA NOT NULL,
    environment TEXT NOT NULL,
    name TEXT NOT NULL,
    cron TEXT NOT NULL,
    timezone TEXT NOT NULL,
    overlap TEXT NOT NULL,
    paused BIGINT NOT NULL,
    kind TEXT NOT NULL,
    job TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    next_run_at BIGINT,
    queued_at BIGINT,
    version BIGINT NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX schedules_by_scope ON schedules (account, environment, id);
CREATE INDEX schedules_due ON schedules (next_run_at, id) WHERE paused = 0 AND next_run_at IS NOT NULL;
CREATE INDEX schedules_queued ON schedules (id) WHERE paused = 0 AND queued_at IS NOT NULL;

CREATE TABLE runs (
    schedule BYTEA NOT NULL,
    planned_at BIGINT NOT NULL,
    trigger TEXT NOT NULL,
    outcome TEXT NOT NULL,
    job BYTEA,
    reason TEXT,
    at BIGINT NOT NULL,
    PRIMARY KEY (schedule, planned_at)
);
CREATE INDEX runs_started ON runs (schedule, planned_at) WHERE job IS NOT NULL;
CREATE INDEX runs_by_age ON runs (at);

-- `served` numbers the turns given when tasks are claimed, `replays` the bulk replays, `advances` their turns; `pings` shows that the store
-- can be written. Whoever writes holds the row `gate` until it commits.
INSERT INTO meta (name, value) VALUES ('served', 0), ('pings', 0), ('replays', 0), ('advances', 0), ('gate', 0);
