-- Accounts beside the built-in one. An e-mail address names one.
CREATE UNIQUE INDEX accounts_by_email ON accounts (email);

-- Permits for calls that were taken from those of a minute, by scope: the latest minute of each.
CREATE TABLE request_minutes (
    account     BLOB NOT NULL,
    environment TEXT NOT NULL,
    minute      INTEGER NOT NULL, -- since 1970
    taken       INTEGER NOT NULL,
    PRIMARY KEY (account, environment)
) STRICT, WITHOUT ROWID;
