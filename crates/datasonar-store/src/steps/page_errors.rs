//! By which codes the pages of a job failed: counted as its tasks are finished, with the URLs of the first.

use std::collections::BTreeMap;

use crate::sql::codec::{count, unsigned};
use crate::sql::{Connection, Row, corrupt, params};
use crate::{ERROR_URL_BYTES, ERROR_URLS, FinishTask, JobId, PageErrors, Result, Scope, StoreError, UNKNOWN_ERROR};

/// Each page that failed is counted once, so no more can have a code than have failed.
pub(super) fn check(finish: &FinishTask) -> Result<()> {
    if coded(finish) > u64::from(finish.failed) {
        return Err(corrupt("a task has more errors than pages that failed"));
    }
    Ok(())
}

fn coded(finish: &FinishTask) -> u64 {
    finish.errors.iter().fold(0, |sum, errors| sum.saturating_add(errors.count))
}

/// Counts what failed in tasks that are finished. The row of a job and code is written once for all.
pub(super) fn add<'f>(connection: &Connection, finished: impl Iterator<Item = &'f FinishTask>) -> Result<()> {
    const ADD: &str = "INSERT INTO job_errors (job, code, version, count, listed, urls)
        VALUES (?1, ?2, coalesce((SELECT c.version FROM job_errors c WHERE c.job = ?1 AND c.code = ?2
        ORDER BY c.version DESC LIMIT 1), 0), ?3, ?4, ?5)
        ON CONFLICT (job, code, version) DO UPDATE SET version = job_errors.version + 1, count = job_errors.count + excluded.count,
        urls = CASE WHEN job_errors.listed < ?6 THEN job_errors.urls || excluded.urls ELSE job_errors.urls END,
        listed = CASE WHEN job_errors.listed < ?6 THEN job_errors.listed + excluded.listed ELSE job_errors.listed END";
    let mut sums: BTreeMap<(JobId, &str), (u64, Vec<&String>)> = BTreeMap::new();
    for finish in finished {
        let uncoded = u64::from(finish.failed) - coded(finish);
        let unknown = (uncoded > 0).then_some((UNKNOWN_ERROR, uncoded, &[][..]));
        let known = finish.errors.iter().filter(|errors| errors.count > 0);
        let known = known.map(|errors| (errors.code.as_str(), errors.count, errors.urls.as_slice()));
        for (code, more, urls) in known.chain(unknown) {
            let (sum, listed) = sums.entry((finish.lease.job, code)).or_default();
            *sum += more;
            listed.extend(urls.iter().take(ERROR_URLS - listed.len()));
        }
    }
    let insert = connection.prepare(ADD);
    let line =
        |url: &&String| serde_json::to_string(&url[..url.floor_char_boundary(ERROR_URL_BYTES)]).map(|line| line + "\n");
    for ((job, code), (sum, urls)) in sums {
        let lines: String = urls
            .iter()
            .map(line)
            .collect::<std::result::Result<_, _>>()
            .map_err(|_| corrupt("a URL cannot be written"))?;
        insert.run(params![job, code, count(sum), urls.len(), lines, ERROR_URLS])?;
    }
    Ok(())
}

pub(super) fn errors(connection: &Connection, scope: Scope, job: JobId) -> Result<Vec<PageErrors>> {
    const JOB: &str = "SELECT 1 FROM jobs WHERE id = ? AND account = ? AND environment = ?";
    const SELECT: &str = "SELECT code, count, urls FROM job_errors WHERE job = ? ORDER BY count DESC, code";
    if !connection.prepare(JOB).exists(params![job, scope.account, scope.environment])? {
        return Err(StoreError::NotFound);
    }
    let read = |row: &Row| Ok((row.get("code")?, unsigned(row, "count")?, row.get::<_, String>("urls")?));
    let rows = connection.prepare(SELECT).query_map(params![job], read)?;
    let told = rows.into_iter().map(|(code, count, lines)| {
        let urls = lines.lines().take(ERROR_URLS).map(serde_json::from_str).collect::<std::result::Result<_, _>>();
        let urls = urls.map_err(|_| corrupt("the URLs of failed pages cannot be read"))?;
        Ok(PageErrors { code, count, urls })
    });
    told.collect()
}
