CREATE TABLE schedules (
    id          BLOB PRIMARY KEY NOT NULL,
    account     BLOB NOT NULL,
    environment TEXT NOT NULL,
    name        TEXT NOT NULL,
    cron        TEXT NOT NULL,
    timezone    TEXT NOT NULL,
    overlap     TEXT NOT NULL,
    paused      INTEGER NOT NULL,
    kind        TEXT NOT NULL,
    job         TEXT NOT NULL, -- JSON that is kept, not read
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    next_run_at INTEGER, -- null when it has no time
    queued_at   INTEGER, -- the time whose run waits for the job before
    version     INTEGER NOT NULL
) STRICT;
CREATE INDEX schedules_by_scope ON schedules (account, environment, id);
CREATE INDEX schedules_due ON schedules (next_run_at, id) WHERE paused = 0 AND next_run_at IS NOT NULL;
CREATE INDEX schedules_queued ON schedules (id) WHERE paused = 0 AND queued_at IS NOT NULL;

CREATE TABLE runs (
    schedule   BLOB NOT NULL,
    planned_at INTEGER NOT NULL,
    trigger    TEXT NOT NULL,
    outcome    TEXT NOT NULL, -- started, queued, skipped, refused
    job        BLOB, -- of one that started
    reason     TEXT, -- of one that was refused
    at         INTEGER NOT NULL,
    PRIMARY KEY (schedule, planned_at)
) STRICT, WITHOUT ROWID;
CREATE INDEX runs_started ON runs (schedule, planned_at) WHERE job IS NOT NULL;
CREATE INDEX runs_by_age ON runs (at);
