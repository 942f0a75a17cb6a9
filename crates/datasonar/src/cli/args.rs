//! Flags that several commands have.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, error::ErrorKind};

use datasonar_store::{Account, AccountId, StoreError, WholeStore};

use crate::config::{SPECS, SettingError, Settings, Sources};

/// Every setting as a flag, made from the table of settings.
#[derive(Debug, Default)]
pub(super) struct SettingsArgs {
    given: Vec<(&'static str, String)>,
    config: Option<PathBuf>,
}

impl SettingsArgs {
    /// Makes settings of the flags, the environment and the file.
    pub(super) fn settings(self) -> Result<Settings, SettingError> {
        load(self.given, self.config)?.settings()
    }
}

/// Where the embedded store is, for commands that open it beside the server.
#[derive(Args, Debug)]
pub(super) struct StoreArgs {
    /// The embedded store
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// A file of settings [default: datasonar.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl StoreArgs {
    /// Makes settings of the flags, the environment and the file.
    pub(super) fn settings(self) -> Result<Settings, SettingError> {
        self.sources()?.settings()
    }

    /// The same for commands that need no encryption key.
    pub(super) fn settings_without_key(self) -> Result<Settings, SettingError> {
        self.sources()?.settings_without_key()
    }

    /// Settings as of [`settings`](Self::settings), if there is a store. Otherwise `None`, and nothing is made.
    pub(super) fn settings_of_a_store(self) -> Result<Option<Settings>, SettingError> {
        let sources = self.sources()?;
        if !sources.has_database_url() && !sources.data_dir().join("datasonar.db").exists() {
            return Ok(None);
        }
        sources.settings().map(Some)
    }

    /// Settings with the encryption key that there is, if there is one; and whether it was given.
    pub(super) fn settings_with_known_key(self) -> Result<(Settings, bool), SettingError> {
        let sources = self.sources()?;
        Ok((sources.settings_with_known_key()?, sources.has_encryption_key()))
    }

    /// Whether a store was named, rather than left to be found.
    pub(super) fn is_given(&self) -> bool {
        self.data_dir.is_some() || self.config.is_some()
    }

    fn sources(self) -> Result<Sources, SettingError> {
        let data_dir = self.data_dir.map(|path| ("data_dir", path.to_string_lossy().into_owned()));
        load(data_dir, self.config)
    }
}

/// Whose things a command is about.
#[derive(Args, Debug)]
pub(super) struct AccountArgs {
    /// The account, by its id or e-mail address [default: the built-in one]
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
}

impl AccountArgs {
    /// Finds the account.
    pub(super) async fn find(&self, store: &dyn WholeStore) -> Result<Account> {
        match &self.account {
            None => Ok(store.account(None).await?),
            Some(named) => find_account(store, named).await,
        }
    }
}

/// Finds an account by its id or e-mail address.
pub(super) async fn find_account(store: &dyn WholeStore, named: &str) -> Result<Account> {
    let found = match named.parse::<AccountId>() {
        Ok(id) => match store.account(Some(id)).await {
            Err(StoreError::NotFound) => None,
            found => Some(found?),
        },
        Err(_) => store.account_by_email(named.trim().to_lowercase()).await?,
    };
    found.with_context(|| format!("there is no account `{named}`; `datasonar accounts list` lists them"))
}

fn load(
    flags: impl IntoIterator<Item = (&'static str, String)>,
    config: Option<PathBuf>,
) -> Result<Sources, SettingError> {
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())));
    Sources::default().flags(flags).environment(variables)?.file(config.as_deref())
}

impl FromArgMatches for SettingsArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut args = Self::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        let wrong = |error: clap::parser::MatchesError| clap::Error::raw(ErrorKind::InvalidValue, error);
        for spec in SPECS {
            if let Some(value) = matches.try_get_one::<String>(spec.name).map_err(wrong)? {
                self.given.push((spec.name, value.clone()));
            }
        }
        self.config = matches.try_get_one::<PathBuf>("config").map_err(wrong)?.cloned();
        Ok(())
    }
}

impl Args for SettingsArgs {
    fn augment_args(command: Command) -> Command {
        let flags = SPECS.iter().map(|spec| {
            let default = if spec.default.is_empty() { String::new() } else { format!(" [default: {}]", spec.default) };
            Arg::new(spec.name).long(spec.flag()).value_name("VALUE").help(format!(
                "{}{default} [env: {}]",
                spec.help,
                spec.variable()
            ))
        });
        let config = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("A file of settings [default: datasonar.toml, if it is there]");
        command.args(flags).arg(config)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}
