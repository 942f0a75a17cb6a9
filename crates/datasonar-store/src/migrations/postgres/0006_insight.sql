-- What is kept for those who look at a scope as a whole. What happened, in counts: `l0` to `l15` count attempts by their latency (the bounds are
-- those of the program's histogram). `version` grows with each writing, as that of jobs does.
CREATE TABLE activity (
    account BYTEA NOT NULL,
    environment TEXT NOT NULL,
    bucket BIGINT NOT NULL, -- spans of 10 minutes since 1970
    version BIGINT NOT NULL,
    jobs_accepted BIGINT NOT NULL, jobs_completed BIGINT NOT NULL, jobs_failed BIGINT NOT NULL,
    pages BIGINT NOT NULL, pages_succeeded BIGINT NOT NULL, attempts_delivered BIGINT NOT NULL,
    attempts_failed BIGINT NOT NULL, dead_letters BIGINT NOT NULL,
    l0 BIGINT NOT NULL, l1 BIGINT NOT NULL, l2 BIGINT NOT NULL, l3 BIGINT NOT NULL, l4 BIGINT NOT NULL,
    l5 BIGINT NOT NULL, l6 BIGINT NOT NULL, l7 BIGINT NOT NULL, l8 BIGINT NOT NULL, l9 BIGINT NOT NULL,
    l10 BIGINT NOT NULL, l11 BIGINT NOT NULL, l12 BIGINT NOT NULL, l13 BIGINT NOT NULL, l14 BIGINT NOT NULL,
    l15 BIGINT NOT NULL
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX activity_current ON activity (account, environment, bucket, version);
-- The same for each host that attempts were made at, by days since 1970, UTC.
CREATE TABLE endpoint_days (
    account BYTEA NOT NULL,
    environment TEXT NOT NULL,
    day BIGINT NOT NULL,
    host TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    delivered BIGINT NOT NULL, failed BIGINT NOT NULL, dead_letters BIGINT NOT NULL,
    l0 BIGINT NOT NULL, l1 BIGINT NOT NULL, l2 BIGINT NOT NULL, l3 BIGINT NOT NULL, l4 BIGINT NOT NULL,
    l5 BIGINT NOT NULL, l6 BIGINT NOT NULL, l7 BIGINT NOT NULL, l8 BIGINT NOT NULL, l9 BIGINT NOT NULL,
    l10 BIGINT NOT NULL, l11 BIGINT NOT NULL, l12 BIGINT NOT NULL, l13 BIGINT NOT NULL, l14 BIGINT NOT NULL,
    l15 BIGINT NOT NULL
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX endpoint_days_current ON endpoint_days (account, environment, day, host, version);
-- By which codes pages of a job failed: how often, and the URLs of some, JSON, one a line.
CREATE TABLE job_errors (
    job BYTEA NOT NULL,
    code TEXT NOT NULL,
    version BIGINT NOT NULL,
    count BIGINT NOT NULL,
    listed BIGINT NOT NULL, -- URLs that are told
    urls TEXT NOT NULL
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX job_errors_current ON job_errors (job, code, version);
-- Those that failed before have no URLs here, and a code only where the job tells it.
INSERT INTO job_errors (job, code, version, count, listed, urls)
    SELECT id, CASE WHEN kind = 'scrape' AND error IS NOT NULL THEN coalesce(error::json ->> 'code', 'unknown') ELSE 'unknown' END,
        0, failed, 0, ''
    FROM jobs WHERE failed > 0 AND results_deleted = 0;

-- How the last attempt ended: the answer's code, the cause in a word (the code, where the answer as such was the matter), how long it took.
ALTER TABLE deliveries ADD COLUMN last_code BIGINT;
ALTER TABLE deliveries ADD COLUMN last_cause TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN last_ms BIGINT;
UPDATE deliveries SET
    last_code = a.response_status,
    last_cause = CASE
        WHEN a.error IS NULL OR a.error::json ->> 'code' IN ('http_status', 'redirect')
            THEN coalesce(a.response_status::text, a.error::json ->> 'code', '')
        ELSE a.error::json ->> 'code' END,
    last_ms = (a.timings::json ->> 'total_ms')::bigint
    FROM attempts a WHERE a.delivery = deliveries.id AND a.number = deliveries.attempts AND deliveries.attempts > 0;
CREATE INDEX deliveries_by_host ON deliveries (account, environment, host, id);
-- Codes of success begin with a 2: what is greater is trouble.
CREATE INDEX deliveries_troubled ON deliveries (account, environment, last_cause, id) WHERE last_cause >= '3';
CREATE INDEX deliveries_dead ON deliveries (account, environment, url, last_cause, id, next_attempt_at) WHERE status = 'failed';
CREATE INDEX jobs_by_host ON jobs (account, environment, webhook_host, id) WHERE webhook_host IS NOT NULL;

ALTER TABLE keys ADD COLUMN name TEXT NOT NULL DEFAULT '';
ALTER TABLE keys ADD COLUMN last_used_at BIGINT;
