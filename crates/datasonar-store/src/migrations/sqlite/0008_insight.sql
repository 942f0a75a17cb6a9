-- What is kept for those who look at a scope as a whole. What happened, in counts: `l0` to `l15` count attempts by their latency (the bounds are
-- those of the program's histogram). `version` grows with each writing, as that of jobs does.
CREATE TABLE activity (
    account BLOB NOT NULL,
    environment TEXT NOT NULL,
    bucket INTEGER NOT NULL, -- spans of 10 minutes since 1970
    version INTEGER NOT NULL,
    jobs_accepted INTEGER NOT NULL, jobs_completed INTEGER NOT NULL, jobs_failed INTEGER NOT NULL,
    pages INTEGER NOT NULL, pages_succeeded INTEGER NOT NULL, attempts_delivered INTEGER NOT NULL,
    attempts_failed INTEGER NOT NULL, dead_letters INTEGER NOT NULL,
    l0 INTEGER NOT NULL, l1 INTEGER NOT NULL, l2 INTEGER NOT NULL, l3 INTEGER NOT NULL, l4 INTEGER NOT NULL,
    l5 INTEGER NOT NULL, l6 INTEGER NOT NULL, l7 INTEGER NOT NULL, l8 INTEGER NOT NULL, l9 INTEGER NOT NULL,
    l10 INTEGER NOT NULL, l11 INTEGER NOT NULL, l12 INTEGER NOT NULL, l13 INTEGER NOT NULL, l14 INTEGER NOT NULL,
    l15 INTEGER NOT NULL,
    PRIMARY KEY (account, environment, bucket, version)
) STRICT, WITHOUT ROWID;
-- The same for each host that attempts were made at, by days since 1970, UTC.
CREATE TABLE endpoint_days (
    account BLOB NOT NULL,
    environment TEXT NOT NULL,
    day INTEGER NOT NULL,
    host TEXT NOT NULL,
    version INTEGER NOT NULL,
    delivered INTEGER NOT NULL, failed INTEGER NOT NULL, dead_letters INTEGER NOT NULL,
    l0 INTEGER NOT NULL, l1 INTEGER NOT NULL, l2 INTEGER NOT NULL, l3 INTEGER NOT NULL, l4 INTEGER NOT NULL,
    l5 INTEGER NOT NULL, l6 INTEGER NOT NULL, l7 INTEGER NOT NULL, l8 INTEGER NOT NULL, l9 INTEGER NOT NULL,
    l10 INTEGER NOT NULL, l11 INTEGER NOT NULL, l12 INTEGER NOT NULL, l13 INTEGER NOT NULL, l14 INTEGER NOT NULL,
    l15 INTEGER NOT NULL,
    PRIMARY KEY (account, environment, day, host, version)
) STRICT, WITHOUT ROWID;
-- By which codes pages of a job failed: how often, and the URLs of some, JSON, one a line.
CREATE TABLE job_errors (
    job BLOB NOT NULL,
    code TEXT NOT NULL,
    version INTEGER NOT NULL,
    count INTEGER NOT NULL,
    listed INTEGER NOT NULL, -- URLs that are told
    urls TEXT NOT NULL,
    PRIMARY KEY (job, code, version)
) STRICT, WITHOUT ROWID;
-- Those that failed before have no URLs here, and a code only where the job tells it.
INSERT INTO job_errors (job, code, version, count, listed, urls)
    SELECT id, CASE WHEN kind = 'scrape' AND error IS NOT NULL THEN coalesce(json_extract(error, '$.code'), 'unknown') ELSE 'unknown' END,
        0, failed, 0, ''
    FROM jobs WHERE failed > 0 AND results_deleted = 0;

-- How the last attempt ended: the answer's code, the cause in a word (the code, where the answer as such was the matter), how long it took.
ALTER TABLE deliveries ADD COLUMN last_code INTEGER;
ALTER TABLE deliveries ADD COLUMN last_cause TEXT NOT NULL DEFAULT ''; -- empty without attempt
ALTER TABLE deliveries ADD COLUMN last_ms INTEGER;
UPDATE deliveries SET
    last_code = a.response_status,
    last_cause = CASE
        WHEN a.error IS NULL OR json_extract(a.error, '$.code') IN ('http_status', 'redirect')
            THEN coalesce(CAST(a.response_status AS TEXT), json_extract(a.error, '$.code'), '')
        ELSE json_extract(a.error, '$.code') END,
    last_ms = json_extract(a.timings, '$.total_ms')
    FROM attempts a WHERE a.delivery = deliveries.id AND a.number = deliveries.attempts AND deliveries.attempts > 0;
CREATE INDEX deliveries_by_host ON deliveries (account, environment, host, id);
-- Codes of success begin with a 2: what is greater is trouble.
CREATE INDEX deliveries_troubled ON deliveries (account, environment, last_cause, id) WHERE last_cause >= '3';
CREATE INDEX deliveries_dead ON deliveries (account, environment, url, last_cause, id, next_attempt_at) WHERE status = 'failed';
CREATE INDEX jobs_by_host ON jobs (account, environment, webhook_host, id) WHERE webhook_host IS NOT NULL;

ALTER TABLE keys ADD COLUMN name TEXT NOT NULL DEFAULT '';
ALTER TABLE keys ADD COLUMN last_used_at INTEGER;
