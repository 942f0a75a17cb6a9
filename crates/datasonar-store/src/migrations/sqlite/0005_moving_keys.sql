-- What PostgreSQL needs to find the row that counts among its versions (see ../postgres/0002_moving_keys.sql): the steps are the same here.
ALTER TABLE jobs ADD COLUMN version INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN claimable_from INTEGER NOT NULL DEFAULT 0;
CREATE TABLE usage_days (
    account     BLOB NOT NULL,
    environment TEXT NOT NULL,
    day         INTEGER NOT NULL,
    pages       INTEGER NOT NULL,
    succeeded   INTEGER NOT NULL,
    time_ms     INTEGER NOT NULL,
    version     INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (account, environment, day)
) STRICT, WITHOUT ROWID;
CREATE INDEX turns_served ON turns (served);
UPDATE turns SET served = max(served, (SELECT value FROM meta WHERE name = 'served'))
    WHERE account = (SELECT account FROM turns ORDER BY served DESC, account LIMIT 1);
