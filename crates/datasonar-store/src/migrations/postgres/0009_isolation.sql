-- How many processes died while they held a task. `isolated` is the state of a task that waits to be worked on page by page. A program of
-- the version before never claims such a task; one that claims a task with kept pages cannot finish it, and leaves it to the end of its lease.
ALTER TABLE tasks ADD COLUMN crashes BIGINT NOT NULL DEFAULT 0;
CREATE INDEX tasks_isolated ON tasks (crashes, job, seq) WHERE state = 'isolated';

CREATE TABLE task_crashes (
    job BYTEA NOT NULL,
    seq BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    PRIMARY KEY (job, seq, epoch)
);

CREATE TABLE page_marks (
    job BYTEA NOT NULL,
    seq BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    page BIGINT NOT NULL,
    alone BIGINT NOT NULL,
    PRIMARY KEY (job, seq, epoch, page)
);

CREATE TABLE kept_pages (
    job BYTEA NOT NULL,
    seq BIGINT NOT NULL,
    page BIGINT NOT NULL,
    time_ms BIGINT NOT NULL,
    error TEXT,
    reason TEXT,
    PRIMARY KEY (job, seq, page)
);
