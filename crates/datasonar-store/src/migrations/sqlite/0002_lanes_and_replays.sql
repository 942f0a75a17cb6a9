-- Deliveries are claimed by the host they go to, in two lanes; deliveries are replayed in bulk; ended jobs are read in
-- the order of their ends.

-- The host of an endpoint that was stored before: what stands between `https://` and the path.
ALTER TABLE jobs ADD COLUMN webhook_host TEXT; -- null without endpoint
UPDATE jobs SET webhook_host = lower(substr(webhook_url, 9,
        instr(replace(replace(substr(webhook_url, 9), '?', '/'), '#', '/') || '/', '/') - 1))
    WHERE webhook_url IS NOT NULL;

ALTER TABLE deliveries ADD COLUMN host TEXT NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN lane TEXT NOT NULL DEFAULT 'first'; -- of the next attempt
-- Whether the retry schedule has made its last attempt: nothing begins it again.
ALTER TABLE deliveries ADD COLUMN schedule_ended INTEGER NOT NULL DEFAULT 0;
-- How many bulk replays had been asked for before it came: those do not concern it.
ALTER TABLE deliveries ADD COLUMN era INTEGER NOT NULL DEFAULT 0;
UPDATE deliveries SET
    schedule_ended = next_attempt_at IS NULL,
    host = lower(substr(url, 9, instr(replace(replace(substr(url, 9), '?', '/'), '#', '/') || '/', '/') - 1)),
    lane = CASE WHEN next_trigger = 'automatic' AND replay_requested_at IS NULL AND automatic_attempts > 0
        THEN 'retry' ELSE 'first' END;

DROP INDEX deliveries_due;
CREATE INDEX deliveries_due ON deliveries (lane, host, next_attempt_at, id)
    WHERE lease_expires_at IS NULL AND next_attempt_at IS NOT NULL;
CREATE INDEX deliveries_next ON deliveries (next_attempt_at)
    WHERE lease_expires_at IS NULL AND next_attempt_at IS NOT NULL;
CREATE INDEX deliveries_by_age ON deliveries (account, environment, created_at, id);
CREATE INDEX deliveries_replaying ON deliveries (account, environment)
    WHERE next_trigger = 'replay' OR replay_requested_at IS NOT NULL;

CREATE INDEX jobs_ended ON jobs (account, environment, completed_at, id) WHERE completed_at IS NOT NULL;

-- `replays` numbers the bulk replays, `advances` the turns they are given.
INSERT INTO meta (name, value) VALUES ('replays', 0), ('advances', 0);

CREATE TABLE replays (
    id           BLOB PRIMARY KEY NOT NULL,
    account      BLOB NOT NULL,
    environment  TEXT NOT NULL,
    -- Which deliveries; null where it does not matter.
    of_status    TEXT,
    of_since     INTEGER,
    of_until     INTEGER,
    of_url       TEXT,
    era          INTEGER NOT NULL, -- only deliveries of eras before it
    status       TEXT NOT NULL, -- started, completed, cancelled
    created_at   INTEGER NOT NULL,
    completed_at INTEGER,
    matched      INTEGER NOT NULL,
    replayed     INTEGER NOT NULL DEFAULT 0,
    -- The delivery it looked at last.
    cursor_at    INTEGER NOT NULL,
    cursor       BLOB NOT NULL,
    turn         INTEGER NOT NULL DEFAULT 0 -- the turn it was last given; 0 for none
) STRICT, WITHOUT ROWID;
CREATE INDEX replays_by_scope ON replays (account, environment, id);
CREATE INDEX replays_started ON replays (turn, id) WHERE status = 'started';
CREATE INDEX replays_ended ON replays (completed_at) WHERE completed_at IS NOT NULL;
