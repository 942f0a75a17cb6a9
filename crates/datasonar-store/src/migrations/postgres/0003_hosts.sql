-- Who was granted how many open requests of a host, until when; and the next moment at which a request to a host may begin.
CREATE TABLE host_shares (
    host BYTEA NOT NULL,
    owner BYTEA NOT NULL,
    permits BIGINT NOT NULL,
    wants BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (host, owner)
) WITH (fillfactor = 50);
CREATE INDEX host_shares_by_expiry ON host_shares (expires_at);
CREATE TABLE host_paces (
    host BYTEA NOT NULL,
    next_at BIGINT NOT NULL,
    PRIMARY KEY (host)
) WITH (fillfactor = 50);
CREATE INDEX host_paces_by_time ON host_paces (next_at);
