//! `datasonar admin`: what an operator does to a store, beside its servers or without any.

mod backup;
mod check;
mod migrate;
mod moving;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

#[derive(Subcommand)]
pub(super) enum AdminCommand {
    /// Bring the schema of the store up to date, as the start of a server does
    Migrate(migrate::MigrateArgs),
    /// Copy an embedded store, while a server works on it
    Backup(backup::BackupArgs),
    /// Look whether all that must be true of the store is, without changing anything
    Check(check::CheckArgs),
    /// Move an embedded store to PostgreSQL and, if asked for, its blobs to a bucket or another directory
    Move(moving::MoveArgs),
}

pub(super) async fn run(command: AdminCommand) -> Result<ExitCode> {
    match command {
        AdminCommand::Migrate(args) => migrate::run(args).await,
        AdminCommand::Backup(args) => backup::run(args).await,
        AdminCommand::Check(args) => check::run(args).await,
        AdminCommand::Move(args) => moving::run(args).await,
    }
}
