-- How many processes died while they held a task. `isolated` is the state of a task that waits to be worked on page by page.
ALTER TABLE tasks ADD COLUMN crashes INTEGER NOT NULL DEFAULT 0;
CREATE INDEX tasks_isolated ON tasks (crashes, job, seq) WHERE state = 'isolated';

-- Claims of tasks whose holders died.
CREATE TABLE task_crashes (
    job   BLOB NOT NULL,
    seq   INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    PRIMARY KEY (job, seq, epoch)
) STRICT, WITHOUT ROWID;

-- Pages of isolated tasks that were in progress, by claim: evidence against them where that claim crashed.
CREATE TABLE page_marks (
    job   BLOB NOT NULL,
    seq   INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    page  INTEGER NOT NULL, -- index in the task
    alone INTEGER NOT NULL, -- nothing else was processed by that process
    PRIMARY KEY (job, seq, epoch, page)
) STRICT, WITHOUT ROWID;

-- Pages of isolated tasks that are done before their task is. Their results are segments, at the positions of their indexes.
CREATE TABLE kept_pages (
    job     BLOB NOT NULL,
    seq     INTEGER NOT NULL,
    page    INTEGER NOT NULL, -- index in the task
    time_ms INTEGER NOT NULL,
    error   TEXT, -- JSON; null for a page that succeeded or was dropped
    reason  TEXT, -- why it was dropped; null for a page that has a result
    PRIMARY KEY (job, seq, page)
) STRICT, WITHOUT ROWID;
