-- People who use the dashboard. Tokens are kept as SHA-256, passwords as the hash that their maker made, with its parameters.
CREATE TABLE users (
    id            BLOB PRIMARY KEY NOT NULL,
    email         TEXT NOT NULL UNIQUE, -- lower case
    password_hash TEXT NOT NULL,
    created_at    INTEGER NOT NULL
) STRICT;

-- Who belongs to an account. Who belongs to none is no user.
CREATE TABLE members (
    account   BLOB NOT NULL,
    user_id   BLOB NOT NULL,
    role      TEXT NOT NULL, -- owner, member
    joined_at INTEGER NOT NULL,
    PRIMARY KEY (account, user_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX members_by_user ON members (user_id);

CREATE TABLE sessions (
    hash       BLOB PRIMARY KEY NOT NULL,
    user_id    BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL, -- to the minute or so
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
CREATE INDEX sessions_by_use ON sessions (seen_at);

-- Each opens the door once, to set a password behind it.
CREATE TABLE links (
    id         BLOB PRIMARY KEY NOT NULL,
    hash       BLOB NOT NULL UNIQUE,
    account    BLOB NOT NULL,
    role       TEXT NOT NULL,
    email      TEXT, -- null: for whoever has it
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at    INTEGER
) STRICT;
CREATE INDEX links_by_account ON links (account, id) WHERE used_at IS NULL;
CREATE INDEX links_by_expiry ON links (expires_at);

-- How often an e-mail address or a network failed to sign in, by their hashes.
CREATE TABLE sign_in_failures (
    subject  BLOB NOT NULL,
    at       INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    PRIMARY KEY (subject, at)
) STRICT, WITHOUT ROWID;
CREATE INDEX sign_in_failures_by_age ON sign_in_failures (at);
