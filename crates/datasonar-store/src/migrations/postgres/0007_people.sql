-- People who use the dashboard: what each column holds is told in ../sqlite.
CREATE TABLE users (
    id BYTEA NOT NULL,
    email TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE members (
    account BYTEA NOT NULL,
    user_id BYTEA NOT NULL,
    role TEXT NOT NULL,
    joined_at BIGINT NOT NULL,
    PRIMARY KEY (account, user_id)
);
CREATE INDEX members_by_user ON members (user_id);
CREATE TABLE sessions (
    hash BYTEA NOT NULL,
    user_id BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (hash)
);
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
CREATE INDEX sessions_by_use ON sessions (seen_at);
CREATE TABLE links (
    id BYTEA NOT NULL,
    hash BYTEA NOT NULL UNIQUE,
    account BYTEA NOT NULL,
    role TEXT NOT NULL,
    email TEXT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT,
    PRIMARY KEY (id)
);
CREATE INDEX links_by_account ON links (account, id) WHERE used_at IS NULL;
CREATE INDEX links_by_expiry ON links (expires_at);
CREATE TABLE sign_in_failures (
    subject BYTEA NOT NULL,
    at BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    PRIMARY KEY (subject, at)
);
CREATE INDEX sign_in_failures_by_age ON sign_in_failures (at);
