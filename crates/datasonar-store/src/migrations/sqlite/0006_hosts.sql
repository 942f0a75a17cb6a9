-- Who was granted how many open requests of a host, until when; and the next moment at which a request to a host may begin. One server has
-- no use for them: they are here because the steps are the same as on PostgreSQL.
CREATE TABLE host_shares (
    host       BLOB NOT NULL,
    owner      BLOB NOT NULL,
    permits    INTEGER NOT NULL,
    wants      INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (host, owner)
) STRICT, WITHOUT ROWID;
CREATE INDEX host_shares_by_expiry ON host_shares (expires_at);
CREATE TABLE host_paces (
    host    BLOB NOT NULL PRIMARY KEY,
    next_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX host_paces_by_time ON host_paces (next_at);
