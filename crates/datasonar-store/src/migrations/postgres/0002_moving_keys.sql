-- A job's row is written anew with each claim and each batch of finished tasks. While a session anywhere holds a snapshot, the server keeps
-- every version of it, and looks at all of them to find the one that counts. `version` grows with each writing, so that the last entry of
-- an index on it is the one that counts, however many are behind it. `claimable_from` tells below which `seq` a job has no task to claim,
-- so that a claim does not pass the entries of those that were claimed before. The highest `served` of `turns` is the last turn's number:
-- it replaces a row of `meta`.
ALTER TABLE jobs ADD COLUMN version BIGINT NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN claimable_from BIGINT NOT NULL DEFAULT 0;
ALTER TABLE jobs DROP CONSTRAINT jobs_pkey;
CREATE UNIQUE INDEX jobs_current ON jobs (id, version);
DROP INDEX jobs_runnable;
CREATE INDEX jobs_runnable ON jobs (account, served, id, version) WHERE tasks_claimable > 0;
-- Takes the place of `usage`, which keeps what it holds and is written by the version before.
CREATE TABLE usage_days (
    account BYTEA NOT NULL,
    environment TEXT NOT NULL,
    day BIGINT NOT NULL,
    pages BIGINT NOT NULL,
    succeeded BIGINT NOT NULL,
    time_ms BIGINT NOT NULL,
    version BIGINT NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX usage_days_current ON usage_days (account, environment, day, version);
CREATE INDEX turns_served ON turns (served);
UPDATE turns SET served = greatest(served, (SELECT value FROM meta WHERE name = 'served'))
    WHERE account = (SELECT account FROM turns ORDER BY served DESC, account LIMIT 1);
