//! `datasonar admin check`: compares what rows count with what there is, and looks for every blob that a row names.
//!
//! It reads a page at a time, beside running servers if need be. What a server may have deleted meanwhile is read again before it is
//! called missing.

use std::{process::ExitCode, sync::Arc};

use anyhow::{Result, bail};
use clap::Args;
use datasonar_store::{Audit, AuditedJob, AuditedTask, JobId, JobInput, Segment, SegmentData};
use futures::{StreamExt, TryStreamExt, stream};
use indicatif::ProgressBar;
use serde_json::json;
use uuid::Uuid;

use crate::{
    blobs::{Blobs, BlobsError},
    cli::{args::StoreArgs, paint, say, say_error},
    jobs::segment::unpack,
    serve::{Rows, open_blobs},
};

/// How many jobs, and how many tasks of one, are read at once.
const JOBS: u32 = 50;
const TASKS: u32 = 100;
/// How many blobs are looked for at once.
const BLOBS: usize = 16;

/// Every job's counts against its tasks, segments and deliveries; every blob that a row names.
#[derive(Args)]
pub(in crate::cli) struct CheckArgs {
    /// Read every blob and compare its hash, too
    #[arg(long)]
    deep: bool,
    /// One JSON object a line: each violation, then what was checked
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) async fn run(args: CheckArgs) -> Result<ExitCode> {
    let settings = args.store.settings_without_key()?;
    let version = Rows::version(&settings).await?;
    match version.found {
        0 => bail!("there is no store; `datasonar serve` makes one, --data-dir and --config name another place"),
        found if found != version.latest => bail!(
            "the store has version {found} of its schema, this program knows version {}: use the program that fits, or \
             run `datasonar admin migrate`",
            version.latest
        ),
        _ => {}
    }
    let rows = Rows::open_beside(&settings).await?;
    let seen = look(rows.audit(), open_blobs(&settings)?, args.deep, args.json).await?;
    rows.close().await;
    Ok(seen.tell(args.json))
}

/// Looks at everything, and tells each violation on standard output.
pub(super) async fn look(audit: Arc<dyn Audit>, blobs: Blobs, deep: bool, json: bool) -> Result<Seen> {
    let bar = paint::bar("{bar:32} {pos} of {len} jobs checked", audit.audited_count().await?);
    let mut check = Check { audit, blobs, deep, json, bar, seen: Seen::default() };
    check.all().await?;
    check.bar.finish_and_clear();
    Ok(check.seen)
}

struct Check {
    audit: Arc<dyn Audit>,
    blobs: Blobs,
    deep: bool,
    json: bool,
    bar: ProgressBar,
    seen: Seen,
}

/// What was looked at.
#[derive(Clone, Copy, Default)]
pub(super) struct Seen {
    pub(super) jobs: u64,
    pub(super) blobs: u64,
    pub(super) violations: u64,
}

impl Seen {
    fn tell(self, json: bool) -> ExitCode {
        let Self { jobs, blobs, violations } = self;
        if json {
            say(&json!({"jobs": jobs, "blobs": blobs, "violations": violations}).to_string());
        } else {
            let checked = format!("{} and {} checked", paint::count(jobs, "job"), paint::count(blobs, "blob"));
            say_error(&format!("{checked}: {}", paint::count(violations, "violation")));
        }
        if violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Something that a row says is there.
struct Claim {
    key: String,
    what: Expected,
}

enum Expected {
    /// A job's input, of this length at least.
    Input(u64),
    Segment(Segment),
}

impl Check {
    async fn all(&mut self) -> Result<()> {
        for stray in self.audit.audited_strays().await? {
            self.tell(None, &stray);
        }
        let mut after = None;
        loop {
            let jobs = self.audit.audited_jobs(after, JOBS).await?;
            let Some(last) = jobs.last() else { return Ok(()) };
            after = Some(last.id);
            for job in &jobs {
                self.job(job).await?;
                self.bar.inc(1);
            }
        }
    }

    async fn job(&mut self, job: &AuditedJob) -> Result<()> {
        self.seen.jobs += 1;
        for violation in job.violations() {
            self.tell(Some(job.id), &violation);
        }
        if job.results_deleted {
            return Ok(());
        }
        let mut violations = Vec::new();
        if let Some(input) = &job.input {
            match &input.place {
                JobInput::Blob(key) => {
                    let claim = Claim { key: key.clone(), what: Expected::Input(input.end) };
                    violations.extend(self.claims(vec![claim]).await?);
                }
                JobInput::Inline(bytes) if (bytes.len() as u64) < input.end => {
                    violations.push(format!("its input has {} bytes, its tasks want {}", bytes.len(), input.end));
                }
                JobInput::Inline(_) => {}
            }
        }
        let mut seq = 0;
        loop {
            let tasks = self.audit.audited_tasks(job.id, seq, TASKS).await?;
            let Some(last) = tasks.last() else { break };
            seq = last.seq + 1;
            violations.extend(self.tasks(tasks).await?);
        }
        if !violations.is_empty() && self.has_results(job.id).await? {
            violations.iter().for_each(|violation| self.tell(Some(job.id), violation));
        }
        Ok(())
    }

    async fn tasks(&mut self, tasks: Vec<AuditedTask>) -> Result<Vec<String>> {
        let mut violations: Vec<String> = tasks.iter().flat_map(AuditedTask::violations).collect();
        let mut claims = Vec::new();
        for segment in tasks.into_iter().flat_map(|task| task.segments) {
            match &segment.data {
                SegmentData::Blob(key) => claims.push(Claim { key: key.clone(), what: Expected::Segment(segment) }),
                SegmentData::Inline(bytes) if unpack(&segment, bytes).is_none() => {
                    violations.push(format!("the segment at {}, kept in its row, is damaged", segment.first));
                }
                SegmentData::Inline(_) => {}
            }
        }
        violations.extend(self.claims(claims).await?);
        Ok(violations)
    }

    /// Looks for blobs, several at a time; tells what is wrong with them.
    async fn claims(&mut self, claims: Vec<Claim>) -> Result<Vec<String>, BlobsError> {
        self.seen.blobs += claims.len() as u64;
        let (blobs, deep) = (&self.blobs, self.deep);
        let looked = stream::iter(claims).map(|claim| claim.violation(blobs, deep)).buffered(BLOBS);
        looked.try_filter_map(async |violation| Ok(violation)).try_collect().await
    }

    /// Whether a job is there still, with its results: the janitor may have been at work.
    async fn has_results(&self, job: JobId) -> Result<bool> {
        let before = JobId(Uuid::from_u128(job.0.as_u128().saturating_sub(1)));
        let found = self.audit.audited_jobs(Some(before), 1).await?;
        Ok(found.first().is_some_and(|found| found.id == job && !found.results_deleted))
    }

    fn tell(&mut self, job: Option<JobId>, violation: &str) {
        self.seen.violations += 1;
        let line = match job {
            _ if self.json => json!({"job_id": job, "violation": violation}).to_string(),
            Some(job) => format!("job {job}: {violation}"),
            None => violation.to_owned(),
        };
        self.bar.suspend(|| say(&line));
    }
}

impl Claim {
    async fn violation(self, blobs: &Blobs, deep: bool) -> Result<Option<String>, BlobsError> {
        let found = match (&self.what, deep) {
            (Expected::Segment(segment), true) => {
                blobs.get(&self.key).await.map(|bytes| unpack(segment, &bytes).is_some())
            }
            (Expected::Segment(_), false) => blobs.length(&self.key).await.map(|length| length > 0),
            (Expected::Input(end), _) => blobs.length(&self.key).await.map(|length| length == *end),
        };
        match found {
            Ok(true) => Ok(None),
            Ok(false) => Ok(Some(format!("the blob {} is not what its row says: it is damaged", self.key))),
            Err(BlobsError::Missing { .. }) => Ok(Some(format!("the blob {} is missing", self.key))),
            Err(error) => Err(error),
        }
    }
}
