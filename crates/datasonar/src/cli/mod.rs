//! The command line: a server, a client of it, and a demonstration of both.

mod accounts;
mod admin;
mod args;
pub mod client;
pub mod demo;
mod keys;
mod listen;
mod local;
mod members;
mod paint;
mod secrets;
mod serve;

use std::{io::IsTerminal, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::files;

/// Fire jobs, get a clean callback.
#[derive(Parser)]
#[command(name = "datasonar", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server
    Serve(serve::ServeArgs),
    /// Ask a server whether it can work, for probes
    Health(client::HealthArgs),
    /// See it work: a local site, an HTTPS endpoint and a server, from request to callback
    Demo(demo::DemoArgs),
    /// Receive callbacks while developing, or pass them on to a program on this machine
    Listen(listen::ListenArgs),
    /// Scrape one URL and print its content
    Scrape(client::ScrapeArgs),
    /// Queue a file of URLs
    Batch(client::BatchArgs),
    /// Crawl a site
    Crawl(Box<client::CrawlArgs>),
    /// Look at jobs
    #[command(subcommand)]
    Jobs(client::JobsCommand),
    /// Make, look at and change schedules: jobs that start by themselves
    #[command(subcommand)]
    Schedules(client::SchedulesCommand),
    /// See what was sent to endpoints and what came back, and send it again
    #[command(subcommand)]
    Deliveries(client::DeliveriesCommand),
    /// Make, list and revoke API keys
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Make accounts for others, each with a plan that limits it
    #[command(subcommand)]
    Accounts(accounts::AccountsCommand),
    /// Let people into the dashboard, and list who is in
    #[command(subcommand)]
    Members(members::MembersCommand),
    /// Show and rotate webhook secrets
    #[command(subcommand)]
    Secrets(secrets::SecretsCommand),
    /// Look after a store: bring its schema up to date, check it
    #[command(subcommand)]
    Admin(admin::AdminCommand),
}

impl Command {
    /// Tells whether it may make files in the data directory, or copies of them. What others make is for whoever runs them.
    fn uses_data_dir(&self) -> bool {
        matches!(
            self,
            Self::Serve(_)
                | Self::Demo(_)
                | Self::Keys(_)
                | Self::Accounts(_)
                | Self::Members(_)
                | Self::Secrets(_)
                | Self::Admin(_)
        )
    }
}

/// Runs the command that the process was started with.
pub async fn run() -> ExitCode {
    let command = Cli::parse().command;
    if command.uses_data_dir() {
        files::keep_private();
    }
    let done = match command {
        Command::Serve(args) => serve::run(args).await,
        Command::Health(args) => client::health(args).await,
        Command::Demo(args) => demo::run(args).await,
        Command::Listen(args) => listen::run(args).await,
        Command::Scrape(args) => client::scrape(args).await,
        Command::Batch(args) => client::batch(args).await,
        Command::Crawl(args) => client::crawl(*args).await,
        Command::Jobs(command) => client::jobs(command).await,
        Command::Schedules(command) => client::schedules(command).await,
        Command::Deliveries(command) => client::deliveries(command).await,
        Command::Keys(command) => keys::run(command).await,
        Command::Accounts(command) => accounts::run(command).await,
        Command::Members(command) => members::run(command).await,
        Command::Secrets(command) => secrets::run(command).await,
        Command::Admin(command) => admin::run(command).await,
    };
    match done {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

/// Says what went wrong, and because of what.
pub fn fail(error: &anyhow::Error) -> ExitCode {
    let (red, plain) = if std::io::stderr().is_terminal() { ("\x1b[31m", "\x1b[0m") } else { ("", "") };
    say_error(&format!("{red}error:{plain} {error:#}"));
    ExitCode::FAILURE
}

/// Writes a line to standard output. A reader that has gone away is no failure.
pub(crate) fn say(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Writes a line to standard error.
pub(crate) fn say_error(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_help() {
        Cli::command().debug_assert();
        let mut help = Cli::command().render_long_help().to_string();
        for command in Cli::command().get_subcommands_mut() {
            help.push_str(&format!("\n# {}\n{}", command.get_name().to_owned(), command.render_long_help()));
        }
        insta::assert_snapshot!(help.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
    }
}
