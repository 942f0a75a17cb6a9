-- A crawl, beside its job.
CREATE TABLE crawls (
    job          BLOB PRIMARY KEY NOT NULL,
    max_pages    INTEGER NOT NULL,
    admitted     INTEGER NOT NULL, -- URLs so far, dropped ones too: the next one's position
    tasks        INTEGER NOT NULL, -- the next one's seq
    level        INTEGER NOT NULL, -- the greatest depth of which tasks may be claimed
    level_left   INTEGER NOT NULL, -- its tasks (and those of lesser depths) that are not finished
    listed       INTEGER NOT NULL DEFAULT 0, -- skipped URLs ever listed
    robots       INTEGER NOT NULL DEFAULT 0,
    out_of_scope INTEGER NOT NULL DEFAULT 0,
    duplicate    INTEGER NOT NULL DEFAULT 0,
    over_limit   INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- The pages that a crawl knows, by the keys of their URLs.
CREATE TABLE seen (
    job      BLOB NOT NULL,
    key      BLOB NOT NULL,
    position INTEGER, -- the page's; null for one that is skipped
    PRIMARY KEY (job, key)
) STRICT, WITHOUT ROWID;

-- The URLs of a crawl's task: JSON, one a line. With row ids, since rows are long.
CREATE TABLE found (
    job  BLOB NOT NULL,
    seq  INTEGER NOT NULL,
    urls TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX found_by_task ON found (job, seq);

CREATE TABLE skipped (
    job    BLOB NOT NULL,
    number INTEGER NOT NULL,
    reason TEXT NOT NULL,
    url    TEXT NOT NULL, -- JSON
    key    BLOB, -- null for pages that were fetched
    PRIMARY KEY (job, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX skipped_by_key ON skipped (job, key) WHERE key IS NOT NULL;
CREATE INDEX skipped_over_limit ON skipped (job, number) WHERE reason = 'over_limit';

-- A task of a crawl has a depth; `held` is the state of one whose depth has not come.
ALTER TABLE tasks ADD COLUMN depth INTEGER;
CREATE INDEX tasks_held ON tasks (job, depth, seq) WHERE state = 'held';
