//! `datasonar admin move`: from one machine to several.
//!
//! **Protocol.** The data directory is locked, so that no server works on it, and its leases are freed: what was owed is due where it
//! goes. The target is marked; from then on no server serves it. Blobs go first, rows second, as everywhere. Then both sides are
//! compared and the target is audited. At last the source is marked as moved, and after that the target's mark is taken off: at no
//! moment may both be served. A run that died anywhere is made good by running it again.
//!
//! **What it does not do.** It deletes nothing of the source.

mod blobs;
mod report;

use std::{io::ErrorKind, path::Path, process::ExitCode, sync::Arc};

use anyhow::{Context, Result, bail};
use clap::Args;
use datasonar_store::{Movable, MoveBegin, MoveMark, StoreError, TableDigest};

use super::check;
use crate::{
    blobs::Blobs,
    cli::{args::StoreArgs, paint, say, say_error},
    clock::{Clock, Ids, SystemClock},
    config::{BlobUrl, KEY_FILE, Settings},
    crypto::Sealer,
    serve::{Lock, Rows, open_blobs, open_checked},
};
use blobs::Copied;
use report::Report;

/// Moves the embedded store of the data directory (jobs, results, deliveries, keys, secrets, schedules) into an empty PostgreSQL
/// database. No server may use the data directory meanwhile. What was interrupted goes on when the same command is run again. The
/// store in the data directory is kept as it is, and marked, so that it is not served by mistake.
#[derive(Args)]
pub(in crate::cli) struct MoveArgs {
    /// The database, as postgres://user:password@host/database [default: the setting DATABASE_URL, which does not show in the list
    /// of processes]
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// Where blobs go: s3://bucket/prefix (with AWS_* variables) or file:///directory [default: the setting BLOB_URL; without one they
    /// stay in the data directory, which all servers must then reach]
    #[arg(long, value_name = "URL")]
    blobs: Option<String>,
    /// Move a store although blobs of it are missing or damaged, or its rows do not agree
    #[arg(long)]
    despite_damage: bool,
    /// Take the mark off a store that was moved, so that it can be served again
    #[arg(long, conflicts_with_all = ["to", "blobs", "despite_damage"])]
    undo: bool,
    /// Print what was moved as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// How long a list of what is wrong may get.
const TOLD: u64 = 10;

pub(super) async fn run(args: MoveArgs) -> Result<ExitCode> {
    let MoveArgs { to, blobs, despite_damage, undo, json, store } = args;
    let (mut settings, key_was_given) = store.settings_with_known_key()?;
    let named = settings.database_url.take();
    if Rows::version(&settings).await?.found == 0 {
        bail!("there is no store in {}: --data-dir names another place", settings.data_dir.display());
    }
    let lock = Lock::take(&settings.data_dir).context("a store is moved while no server uses it")?;
    let source = Rows::open_marked(&settings).await?;
    if undo {
        let was_marked = source.movable().unmark_moved().await?;
        source.close().await;
        say(if was_marked {
            "the mark is taken off: this store can be served again. What it owes may have been delivered from where it was moved"
        } else {
            "this store is not marked as moved"
        });
        return Ok(ExitCode::SUCCESS);
    }
    let Some(url) = to.or(named) else { bail!("where to? --to postgres://user@host/database names the database") };
    let place = Rows::place(&url).context("--to")?;
    let here = place_of_blobs(&settings)?;
    let there = match (&blobs, &settings.blob_url) {
        (Some(url), _) => BlobUrl::parse(url.trim()).map_err(|reason| anyhow::anyhow!("--blobs: {reason}"))?,
        (None, Some(url)) => url.clone(),
        (None, None) => here.clone(),
    };
    let target_settings = Settings { database_url: Some(url), blob_url: Some(there.clone()), ..settings.clone() };
    check_secrets(&source, &settings).await?;
    let blobs = open_checked(&target_settings, &Ids::random(Arc::new(SystemClock))).await?;
    let target = open_target(&target_settings).await?;
    let moving = Move {
        source: source.movable(),
        target: target.movable(),
        from: (here != there)
            .then(|| open_blobs(&Settings { blob_url: Some(here.clone()), ..settings.clone() }))
            .transpose()?,
        blobs,
        despite_damage,
        json,
    };
    let account = match source.store().account(None).await {
        Ok(account) => account.id,
        Err(StoreError::NotFound) => {
            bail!("the store in {} is empty: there is nothing to move", settings.data_dir.display())
        }
        Err(error) => return Err(error.into()),
    };
    let is_marked = moving.source.move_mark().await? != MoveMark::None;
    let begin = moving.target.begin_move(account, !is_marked).await?;
    let mut report =
        Report::new(&place, &there, key_file(&settings.data_dir, key_was_given), &settings.data_dir, begin);
    if begin == MoveBegin::Ended {
        if !is_marked {
            bail!("{place} has this store already, and that one may have gone on since: choose an empty database");
        }
    } else {
        // The lock says that nobody else lives.
        source.store().free_leases().await?;
        let again = "the move has not ended: nothing is lost, and the same command run again goes on";
        moving.all(&place, &mut report, &target).await.context(again)?;
    }
    source.close().await;
    target.close().await;
    drop(lock);
    report.tell(json);
    Ok(ExitCode::SUCCESS)
}

/// Where the blobs of a store are: in the data directory, unless there are none and BLOB_URL names another place. Whoever moves has
/// often set BLOB_URL to the new place already.
fn place_of_blobs(settings: &Settings) -> Result<BlobUrl> {
    let own = settings.data_dir.join("blobs");
    let is_empty = match std::fs::read_dir(&own) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == ErrorKind::NotFound => true,
        Err(error) => return Err(error).with_context(|| own.display().to_string()),
    };
    match &settings.blob_url {
        Some(url) if is_empty => Ok(url.clone()),
        _ => Ok(BlobUrl::Directory(std::path::absolute(own)?)),
    }
}

/// The file with the key that secrets are sealed with, unless it was given.
fn key_file(data_dir: &Path, was_given: bool) -> Option<String> {
    (!was_given).then(|| data_dir.join(KEY_FILE).display().to_string())
}

/// Servers at the target must be able to sign: tries the key on every secret.
async fn check_secrets(source: &Rows, settings: &Settings) -> Result<()> {
    let clock = Arc::new(SystemClock);
    let secrets = source.movable().signing_secrets(clock.now()).await?;
    if secrets.is_empty() {
        return Ok(());
    }
    if settings.encryption_key.is_empty() {
        bail!(
            "there is no {KEY_FILE} in {}: set DATASONAR_ENCRYPTION_KEY to the key that its servers were given, which \
             its webhook secrets were encrypted with",
            settings.data_dir.display()
        );
    }
    let sealer = Sealer::new(&settings.encryption_key, Ids::random(clock)).context("ENCRYPTION_KEY")?;
    for secret in secrets {
        sealer
            .open(secret.scope, secret.id, &secret.sealed)
            .context("the store's secrets do not open: DATASONAR_ENCRYPTION_KEY must be the key of its servers")?;
    }
    Ok(())
}

async fn open_target(settings: &Settings) -> Result<Rows> {
    let version = Rows::version(settings).await?;
    if version.found != 0 && version.found != version.latest {
        bail!("the database has a store of another version: a store is moved into an empty database");
    }
    Ok(Rows::open_marked(settings).await?)
}

struct Move {
    source: Arc<dyn Movable>,
    target: Arc<dyn Movable>,
    /// Where blobs are, if they do not stay there.
    from: Option<Blobs>,
    /// Where blobs will be.
    blobs: Blobs,
    despite_damage: bool,
    json: bool,
}

impl Move {
    async fn all(&self, place: &str, report: &mut Report, target: &Rows) -> Result<()> {
        report.blobs = self.blobs().await?;
        report.tables = self.rows().await?;
        report.owed = self.target.deliveries_owed().await?;
        let checked = check::look(target.audit(), self.blobs.clone(), false, self.json).await?;
        report.violations = checked.violations;
        if checked.violations > 0 && !self.despite_damage {
            bail!(
                "what was moved is as it was, and does not agree with itself, as listed: --despite-damage moves it as it is"
            );
        }
        // In this order: dying between the two leaves neither to be served, and running it again ends it.
        self.source.mark_moved(place.to_owned(), SystemClock.now()).await?;
        self.target.end_move().await?;
        Ok(())
    }

    async fn blobs(&self) -> Result<Option<Copied>> {
        let Some(from) = &self.from else { return Ok(None) };
        let bar = paint::bar("{bar:32} {pos} of {len} blobs", self.source.named_blobs_count().await?);
        let told = std::cell::Cell::new(0);
        let tell = |what: &str| {
            told.set(told.get() + 1);
            if told.get() <= TOLD {
                say_error(what);
            }
        };
        let copied = blobs::copy(&*self.source, from, &self.blobs, &bar, tell).await?;
        bar.finish_and_clear();
        if copied.damaged > 0 && !self.despite_damage {
            let damaged = paint::count(copied.damaged, "blob");
            bail!(
                "{damaged} missing or damaged in the store (`datasonar admin check --deep` lists all): --despite-damage \
                 moves the rest"
            );
        }
        Ok(Some(copied))
    }

    /// Carries all rows, and compares both sides.
    async fn rows(&self) -> Result<Vec<TableDigest>> {
        let expected = self.source.digests().await?;
        let bar = paint::bar("{bar:32} {pos} of {len} rows", expected.iter().map(|table| table.rows).sum());
        let mut after = None;
        while let Some(rows) = self.source.carried_rows(after).await? {
            let count = rows.count();
            after = Some(rows.end());
            self.target.put_rows(rows).await?;
            bar.inc(count);
        }
        bar.finish_and_clear();
        let (source, target) = (self.source.digests().await?, self.target.digests().await?);
        for ((before, now), there) in expected.iter().zip(&source).zip(&target) {
            if before != now {
                bail!("rows of `{}` were changed while they were moved: let nothing else use the store", now.table);
            }
            if now != there {
                let (table, here, there) = (now.table, now.rows, there.rows);
                bail!(
                    "`{table}` has {here} rows and {there} where they were moved, or others: let nothing else use it"
                );
            }
        }
        Ok(target)
    }
}
