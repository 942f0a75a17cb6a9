//! The frontier of crawls: admitting URLs once each, level by level, and telling pages apart.

use std::collections::HashSet;

use crate::sql::{Connection, OptionalExtension, Row, owned, params};

use super::jobs::current;
use super::tasks::add_claimable;
use crate::sql::codec::{Json, count, narrow, unsigned};
use crate::sql::corrupt;
use crate::{
    Discovery, FinishTask, FoundUrl, JobId, NewCrawl, Result, SKIPPED_LISTED, Scope, SkipReason, SkippedUrl,
    StoreError, TaskLease, URLS_PER_CRAWL_TASK, UrlKey,
};

/// Begins a crawl: the job's row is there, and counts nothing yet.
pub(super) fn begin(connection: &Connection, job: JobId, new: &NewCrawl) -> Result<()> {
    const INSERT: &str =
        "INSERT INTO crawls (job, max_pages, admitted, tasks, level, level_left) VALUES (?, ?, 0, 0, ?, 0)";
    if new.max_pages == 0 {
        return Err(corrupt("a crawl needs a page"));
    }
    connection.prepare(INSERT).run(params![job, count(new.max_pages), new.start.depth])?;
    let mut frontier = Frontier::open(connection, job)?;
    frontier.admit(&new.start)?;
    frontier.close()
}

pub(super) fn discover(connection: &Connection, lease: TaskLease, discovery: &Discovery) -> Result<()> {
    let task = hold(connection, lease)?;
    if task.cancelled {
        return Ok(());
    }
    let mut frontier = Frontier::open(connection, lease.job)?;
    frontier.take(discovery)?;
    frontier.close()
}

pub(super) fn claim_page(
    connection: &Connection,
    lease: TaskLease,
    index: u32,
    own_key: UrlKey,
    keys: &[UrlKey],
) -> Result<bool> {
    const SELECT: &str = "SELECT position FROM seen WHERE job = ? AND key = ?";
    const TAKE: &str = "INSERT INTO seen (job, key, position) VALUES (?, ?, ?)
        ON CONFLICT (job, key) DO UPDATE SET position = excluded.position";
    let task = hold(connection, lease)?;
    if index >= task.urls {
        return Err(corrupt("a page lies outside its task"));
    }
    let own = count(task.first + u64::from(index));
    let select = connection.prepare(SELECT);
    let mut standing = Vec::with_capacity(keys.len());
    for key in keys {
        let found = select.query_row(params![lease.job, key], |row| row.get::<_, Option<i64>>(0)).optional()?;
        if let Some(other) = found.flatten().filter(|position| *position != own) {
            // Pages that name each other as canonical must not both give way.
            connection.prepare(TAKE).run(params![lease.job, own_key, other])?;
            return Ok(false);
        }
        standing.push(found);
    }
    let mut frontier = None;
    for (key, found) in keys.iter().zip(standing) {
        if found == Some(None) {
            // It was skipped under another URL, and is fetched after all.
            if frontier.is_none() {
                frontier = Some(Frontier::open(connection, lease.job)?);
            }
            if let Some(frontier) = &mut frontier {
                frontier.unskip(*key)?;
            }
        }
        connection.prepare(TAKE).run(params![lease.job, key, own])?;
    }
    frontier.map_or(Ok(()), Frontier::close)?;
    Ok(true)
}

/// What the finishing of a crawl's task does to the frontier, before the task is counted. `depth` is the task's.
pub(super) fn finish(connection: &Connection, finish: &FinishTask, depth: u32, cancelled: bool) -> Result<()> {
    // Its URLs are in its results now. The room is used again, so that the file grows little with a crawl.
    const DELETE: &str = "DELETE FROM found WHERE job = ? AND seq = ?";
    connection.prepare(DELETE).run(params![finish.lease.job, finish.lease.seq])?;
    let mut frontier = Frontier::open(connection, finish.lease.job)?;
    frontier.dropped = narrow(finish.dropped.len())?;
    frontier.total -= u64::from(frontier.dropped);
    // They have no key of their own to be skipped by: it is known as that of a page.
    finish.dropped.iter().try_for_each(|page| frontier.count(&page.skipped, None))?;
    if !cancelled {
        frontier.promote()?;
        frontier.take(&finish.discovery)?;
    }
    if depth <= frontier.level {
        frontier.level_left -= 1;
    }
    frontier.next_level()?;
    frontier.close()
}

pub(super) fn skipped(
    connection: &Connection,
    scope: Scope,
    job: JobId,
    after: u64,
    limit: u32,
) -> Result<Vec<(u64, SkippedUrl)>> {
    const JOB: &str = "SELECT 1 FROM jobs WHERE id = ? AND account = ? AND environment = ?";
    const SELECT: &str = "SELECT number, reason, url FROM skipped WHERE job = ? AND number > ? ORDER BY number LIMIT ?";
    if !connection.prepare(JOB).exists(params![job, scope.account, scope.environment])? {
        return Err(StoreError::NotFound);
    }
    let read = |row: &Row| {
        let Json(url) = row.get("url")?;
        Ok((unsigned(row, "number")?, SkippedUrl { url, reason: row.get("reason")? }))
    };
    let select = connection.prepare(SELECT);
    Ok(select.query_map(params![job, count(after), limit], read)?)
}

/// The URLs of a task, from their row.
pub(super) fn read(urls: &str) -> Result<Vec<FoundUrl>> {
    let urls: std::result::Result<_, _> = urls.lines().map(serde_json::from_str).collect();
    urls.map_err(|_| corrupt("the URLs of a crawl's task cannot be read"))
}

/// A task that is not finished.
pub(super) struct Held {
    pub(super) first: u64,
    pub(super) urls: u32,
    /// Its pages are kept one by one.
    pub(super) is_isolated: bool,
    cancelled: bool,
}

/// Finds the task, if its lease is still the caller's.
pub(super) fn hold(connection: &Connection, lease: TaskLease) -> Result<Held> {
    const SELECT: &str =
        "SELECT t.first, t.urls, t.crashes >= 2 AS is_isolated, j.cancelled_at IS NOT NULL AS cancelled
        FROM tasks t JOIN jobs j ON j.id = t.job
        WHERE t.job = ? AND t.seq = ? AND t.epoch = ? AND t.state <> 'finished'";
    let read = |row: &Row| {
        Ok(Held {
            first: unsigned(row, "first")?,
            urls: row.get("urls")?,
            is_isolated: row.get("is_isolated")?,
            cancelled: row.get("cancelled")?,
        })
    };
    let select = connection.prepare(SELECT);
    select.query_row(params![lease.job, lease.seq, lease.epoch], read).optional()?.ok_or(StoreError::LeaseLost)
}

/// A task that is being filled.
struct Filling {
    seq: u32,
    depth: u32,
    /// The position after its last URL.
    end: u64,
    urls: u32,
    /// The lines that are new.
    lines: String,
    is_new: bool,
}

/// A crawl's frontier, as it is being changed: its counts are read at the beginning and written at the end.
struct Frontier<'a> {
    connection: &'a Connection,
    job: JobId,
    max_pages: u64,
    admitted: u64,
    tasks: u32,
    level: u32,
    level_left: i64,
    listed: u64,
    skipped: [i64; 4],
    /// The job's results to be.
    total: u64,
    /// What the job's row does not know yet.
    new_urls: i64,
    new_tasks: i64,
    dropped: u32,
    claimable: i64,
    filling: Option<Filling>,
    /// Of the pages of the discovery at hand, those that are known.
    known: HashSet<UrlKey>,
}

impl<'a> Frontier<'a> {
    fn open(connection: &'a Connection, job: JobId) -> Result<Self> {
        const SELECT: &str = "SELECT c.max_pages, c.admitted, c.tasks, c.level, c.level_left, c.listed, j.total
            FROM crawls c JOIN jobs j ON j.id = c.job WHERE c.job = ?";
        let read = |row: &Row| {
            Ok(Self {
                connection,
                job,
                max_pages: unsigned(row, "max_pages")?,
                admitted: unsigned(row, "admitted")?,
                tasks: row.get("tasks")?,
                level: row.get("level")?,
                level_left: row.get("level_left")?,
                listed: unsigned(row, "listed")?,
                skipped: [0; 4],
                total: unsigned(row, "total")?,
                new_urls: 0,
                new_tasks: 0,
                dropped: 0,
                claimable: 0,
                filling: None,
                known: HashSet::new(),
            })
        };
        let found = connection.prepare(SELECT).query_row([job], read).optional()?;
        found.ok_or_else(|| corrupt("a job is no crawl"))
    }

    fn take(&mut self, discovery: &Discovery) -> Result<()> {
        self.learn(discovery.found.iter().chain(discovery.skipped.iter().map(|one| &one.url)))?;
        for url in &discovery.found {
            if self.total < self.max_pages {
                self.admit(url)?;
            } else {
                self.skip(&SkippedUrl { url: url.clone(), reason: SkipReason::OverLimit })?;
            }
        }
        discovery.skipped.iter().try_for_each(|one| self.skip(one))
    }

    /// Reads which of these pages are known.
    fn learn<'u>(&mut self, urls: impl Iterator<Item = &'u FoundUrl>) -> Result<()> {
        const SEEN: &str = "SELECT 1 FROM seen WHERE job = ? AND key = ?";
        let mut keys: Vec<UrlKey> = urls.map(|url| url.key).collect();
        keys.sort_unstable();
        keys.dedup();
        let found = self.connection.prepare(SEEN).query_all(keys.iter().map(|key| owned![self.job, key]))?;
        self.known = keys.into_iter().zip(found).filter(|(_, rows)| !rows.is_empty()).map(|(key, _)| key).collect();
        Ok(())
    }

    /// Makes a page known, with its position if it has one. Tells whether it was not.
    fn note(&mut self, key: UrlKey, position: Option<u64>) -> Result<bool> {
        const INSERT: &str = "INSERT INTO seen (job, key, position) VALUES (?, ?, ?)";
        let is_new = self.known.insert(key);
        if is_new {
            self.connection.prepare(INSERT).run(params![self.job, key, position.map(count)])?;
        }
        Ok(is_new)
    }

    /// Makes a URL part of a task, unless its page is known.
    fn admit(&mut self, url: &FoundUrl) -> Result<()> {
        if self.note(url.key, Some(self.admitted))? { self.put(url) } else { Ok(()) }
    }

    /// Gives a URL the next position.
    fn put(&mut self, url: &FoundUrl) -> Result<()> {
        let fits = |task: &Filling| task.depth == url.depth && task.urls < URLS_PER_CRAWL_TASK;
        if !self.filling.as_ref().is_some_and(fits) {
            self.end_task()?;
            let last = if url.depth > self.level { self.last_held(url.depth)? } else { None };
            let task = match last {
                Some(task) => task,
                None => self.new_task(url.depth)?,
            };
            self.filling = Some(task);
        }
        let line = serde_json::to_string(url).map_err(|_| corrupt("a URL cannot be written"))?;
        if let Some(task) = &mut self.filling {
            task.lines.push_str(&line);
            task.lines.push('\n');
            (task.urls, task.end) = (task.urls + 1, task.end + 1);
        }
        (self.admitted, self.total, self.new_urls) = (self.admitted + 1, self.total + 1, self.new_urls + 1);
        Ok(())
    }

    /// The last task of a depth that has not come, if it has room and the next position is its own.
    fn last_held(&self, depth: u32) -> Result<Option<Filling>> {
        const SELECT: &str = "SELECT seq, first + urls AS end, urls FROM tasks INDEXED BY tasks_held
            WHERE job = ? AND state = 'held' AND depth = ? ORDER BY seq DESC LIMIT 1";
        let read = |row: &Row| {
            let (seq, urls) = (row.get("seq")?, row.get("urls")?);
            Ok(Filling { seq, depth, end: unsigned(row, "end")?, urls, lines: String::new(), is_new: false })
        };
        let found = self.connection.prepare(SELECT).query_row(params![self.job, depth], read).optional()?;
        Ok(found.filter(|task| task.end == self.admitted && task.urls < URLS_PER_CRAWL_TASK))
    }

    fn new_task(&mut self, depth: u32) -> Result<Filling> {
        let seq = self.tasks;
        self.tasks += 1;
        self.new_tasks += 1;
        Ok(Filling { seq, depth, end: self.admitted, urls: 0, lines: String::new(), is_new: true })
    }

    /// Writes the task that was being filled.
    fn end_task(&mut self) -> Result<()> {
        const INSERT: &str = "INSERT INTO tasks (job, seq, state, input_offset, input_bytes, first, urls, depth)
            VALUES (?, ?, ?, 0, 0, ?, ?, ?)";
        const INSERT_URLS: &str = "INSERT INTO found (job, seq, urls) VALUES (?, ?, ?)";
        const UPDATE: &str = "UPDATE tasks SET urls = ? WHERE job = ? AND seq = ?";
        const UPDATE_URLS: &str = "UPDATE found SET urls = urls || ? WHERE job = ? AND seq = ?";
        let Some(task) = self.filling.take() else { return Ok(()) };
        if !task.is_new {
            self.connection.prepare(UPDATE).run(params![task.urls, self.job, task.seq])?;
            self.connection.prepare(UPDATE_URLS).run(params![task.lines, self.job, task.seq])?;
            return Ok(());
        }
        let is_due = task.depth <= self.level;
        let state = if is_due { "pending" } else { "held" };
        let first = task.end - u64::from(task.urls);
        self.connection.prepare(INSERT).run(params![self.job, task.seq, state, count(first), task.urls, task.depth])?;
        self.connection.prepare(INSERT_URLS).run(params![self.job, task.seq, task.lines])?;
        if is_due {
            self.level_left += 1;
            self.claimable += 1;
        }
        Ok(())
    }

    /// Lists and counts a URL that is not fetched, unless its page is known.
    fn skip(&mut self, one: &SkippedUrl) -> Result<()> {
        let key = one.url.key;
        let is_known = if self.listed < SKIPPED_LISTED { !self.note(key, None)? } else { self.known.contains(&key) };
        if is_known { Ok(()) } else { self.count(one, Some(key)) }
    }

    /// Counts a URL that is not fetched, and lists it if there is room.
    fn count(&mut self, one: &SkippedUrl, key: Option<UrlKey>) -> Result<()> {
        self.skipped[one.reason as usize] += 1;
        if self.listed < SKIPPED_LISTED { self.list(one, key) } else { Ok(()) }
    }

    fn list(&mut self, one: &SkippedUrl, key: Option<UrlKey>) -> Result<()> {
        const INSERT: &str = "INSERT INTO skipped (job, number, reason, url, key) VALUES (?, ?, ?, ?, ?)";
        self.listed += 1;
        let row = params![self.job, count(self.listed), one.reason, Json(&one.url), key];
        self.connection.prepare(INSERT).run(row)?;
        Ok(())
    }

    /// Takes a page off the list of those that were skipped.
    fn unskip(&mut self, key: UrlKey) -> Result<()> {
        const DELETE: &str = "DELETE FROM skipped WHERE job = ? AND key = ? RETURNING reason";
        let delete = self.connection.prepare(DELETE);
        let reason = delete.query_row(params![self.job, key], |row| row.get::<_, SkipReason>(0)).optional()?;
        if let Some(reason) = reason {
            self.skipped[reason as usize] -= 1;
        }
        Ok(())
    }

    /// Takes in what was skipped for the limit, as far as there is room now.
    fn promote(&mut self) -> Result<()> {
        const SELECT: &str =
            "SELECT url FROM skipped INDEXED BY skipped_over_limit WHERE job = ? AND reason = 'over_limit'
            ORDER BY number LIMIT ?";
        const SEEN: &str = "UPDATE seen SET position = ? WHERE job = ? AND key = ?";
        let room = self.max_pages.saturating_sub(self.total).min(u64::from(self.dropped));
        if room == 0 {
            return Ok(());
        }
        let select = self.connection.prepare(SELECT);
        let urls: Vec<FoundUrl> = select
            .query_map(params![self.job, count(room)], |row| row.get::<_, Json<FoundUrl>>(0))?
            .into_iter()
            .map(|url| url.0)
            .collect();
        for url in urls {
            self.unskip(url.key)?;
            self.connection.prepare(SEEN).run(params![count(self.admitted), self.job, url.key])?;
            self.put(&url)?;
        }
        Ok(())
    }

    /// Makes the tasks of the next depth claimable when none of this one is left.
    fn next_level(&mut self) -> Result<()> {
        const NEXT: &str = "SELECT min(depth) FROM tasks INDEXED BY tasks_held WHERE job = ? AND state = 'held'";
        const RELEASE: &str = "UPDATE tasks INDEXED BY tasks_held SET state = 'pending'
            WHERE job = ? AND state = 'held' AND depth = ?";
        self.end_task()?;
        if self.level_left > 0 {
            return Ok(());
        }
        let next: Option<u32> = self.connection.prepare(NEXT).query_row([self.job], |row| row.get(0))?;
        let Some(next) = next else { return Ok(()) };
        let tasks = self.connection.prepare(RELEASE).execute(params![self.job, next])?;
        self.level = next;
        self.level_left = narrow(tasks)?;
        self.claimable += self.level_left;
        Ok(())
    }

    fn close(mut self) -> Result<()> {
        const CRAWL: &str = "UPDATE crawls SET admitted = ?, tasks = ?, level = ?, level_left = ?, listed = ?,
            robots = robots + ?, out_of_scope = out_of_scope + ?, duplicate = duplicate + ?, over_limit = over_limit + ?
            WHERE job = ?";
        const JOB: &str = current!("SET total = total + ?2, tasks_left = tasks_left + ?3", "");
        self.end_task()?;
        let [robots, out_of_scope, duplicate, over_limit] = self.skipped;
        self.connection.prepare(CRAWL).run(params![
            count(self.admitted),
            self.tasks,
            self.level,
            self.level_left,
            count(self.listed),
            robots,
            out_of_scope,
            duplicate,
            over_limit,
            self.job
        ])?;
        let urls = self.new_urls - i64::from(self.dropped);
        if urls != 0 || self.new_tasks != 0 {
            self.connection.prepare(JOB).run(params![self.job, urls, self.new_tasks])?;
        }
        if self.claimable != 0 {
            add_claimable(self.connection, self.job, self.claimable)?;
        }
        Ok(())
    }
}
