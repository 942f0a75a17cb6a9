//! `datasonar admin backup`: a copy of an embedded store that is whole, taken while a server works on it.
//!
//! Rows are copied first, as they are at one moment, then the blobs: a blob is there before the row that names it, so that the copy has every
//! blob that its rows name, and perhaps some that they do not, which the next server sweeps.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use clap::Args;
use datasonar_store::sqlite::SqliteStore;
use indicatif::ProgressBar;
use serde_json::json;

use crate::{
    cli::{args::StoreArgs, say},
    files::{create_private_dir, make_private},
};

/// Copies the embedded store into a new folder: its rows, its blobs, its encryption key. A server may be running on it.
///
/// To restore it, start a server on the folder: `datasonar serve --data-dir FOLDER`.
#[derive(Args)]
pub(in crate::cli) struct BackupArgs {
    /// The folder to make; it must not exist, or be empty
    folder: PathBuf,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// What was copied.
#[derive(Default)]
struct Copied {
    files: u64,
    bytes: u64,
}

pub(super) async fn run(args: BackupArgs) -> Result<ExitCode> {
    let settings = args.store.settings_without_key()?;
    if settings.database_url.is_some() {
        bail!("this copies embedded stores; PostgreSQL has pg_dump, see docs/operating.md");
    }
    let rows = settings.data_dir.join("datasonar.db");
    if !rows.exists() {
        bail!("there is no store in {}; --data-dir names another place", settings.data_dir.display());
    }
    let (from, to) = (settings.data_dir.clone(), args.folder.clone());
    let make = || -> io::Result<bool> {
        create_private_dir(&to)?;
        Ok(fs::read_dir(&to)?.next().is_none())
    };
    if !make().with_context(|| format!("{} cannot be made", to.display()))? {
        bail!("{} is not empty; name a new folder", to.display());
    }
    SqliteStore::copy(&rows, &to.join("datasonar.db")).await.context("the rows cannot be copied")?;
    let has_blobs = settings.blob_url.is_none();
    let progress = ProgressBar::no_length().with_message("copying blobs");
    let work = move || -> Result<Copied> {
        let mut copied = Copied::default();
        if has_blobs {
            copy_folder(&from.join("blobs"), &to.join("blobs"), &mut copied, &progress)?;
        }
        let key = from.join("encryption.key");
        if key.exists() {
            // With its mode, which lets only its owner read it.
            fs::copy(&key, to.join("encryption.key")).context("the encryption key cannot be copied")?;
        }
        // Copies have the modes of what they were copied from, and the folder may have been there.
        make_private(&to).context("the copy cannot be kept from other users")?;
        progress.finish_and_clear();
        Ok(copied)
    };
    let copied = tokio::task::spawn_blocking(work).await??;
    let size = fs::metadata(args.folder.join("datasonar.db"))?.len();
    if args.json {
        say(&json!({"row_bytes": size, "blobs": copied.files, "blob_bytes": copied.bytes}).to_string());
    } else {
        say(&format!(
            "{} bytes of rows and {} blobs ({} bytes) were copied to {}",
            size,
            copied.files,
            copied.bytes,
            args.folder.display()
        ));
        if !has_blobs {
            say("BLOB_URL names where the blobs are: they were not copied");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Copies the files of a folder and of those in it. What goes away meanwhile was deleted by the server, and is not needed any more.
fn copy_folder(from: &Path, to: &Path, copied: &mut Copied, progress: &ProgressBar) -> Result<()> {
    let entries = match fs::read_dir(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("{} cannot be read", from.display()))?,
    };
    create_private_dir(to).with_context(|| format!("{} cannot be made", to.display()))?;
    for entry in entries {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy_folder(&from, &to, copied, progress)?;
            continue;
        }
        match fs::copy(&from, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => {
                copied.bytes += done.with_context(|| format!("{} cannot be copied", from.display()))?;
                copied.files += 1;
                progress.tick();
            }
        }
    }
    Ok(())
}
