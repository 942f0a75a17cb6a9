//! Where settings come from, and in what order.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use ring::rand::{SecureRandom, SystemRandom};

use crate::files::create_private_dir;

use super::{
    AccountPlan, AwsVariables, BlobUrl, PlanLimits, SPECS, SettingError, Settings,
    parse::{self, Given},
};

/// Variables of the command line client, which a server passes over.
pub const CLIENT_VARIABLES: &[&str] = &["DATASONAR_SERVER", "DATASONAR_API_KEY"];

const PREFIX: &str = "DATASONAR_";
/// Less memory than this no page is rendered with.
const SMALLEST_RENDERER: u64 = 64 << 20;
/// The shortest of sessions: its use is noted only once in a while.
const SHORTEST_SESSION: Duration = Duration::from_secs(5 * 60);
/// The file that is read when it is there.
const FILE: &str = "datasonar.toml";
/// The file in the data directory that keeps the encryption key.
pub const KEY_FILE: &str = "encryption.key";

/// Settings as given, by name; earlier sources win.
#[derive(Debug, Default)]
pub struct Sources {
    given: BTreeMap<&'static str, Given>,
    aws: AwsVariables,
}

impl Sources {
    /// Takes flags: name (as in a file) and value.
    pub fn flags<'a>(mut self, flags: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        for (name, value) in flags {
            self.offer(name, format!("--{}", name.replace('_', "-")), value);
        }
        self
    }

    /// Takes the environment.
    ///
    /// # Errors
    /// When a variable that begins with `DATASONAR_` is no setting.
    pub fn environment(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, SettingError> {
        for (variable, value) in variables {
            if variable == "RUST_LOG" {
                self.offer("rust_log", variable, value);
                continue;
            }
            self.aws.offer(&variable, &value);
            let Some(name) = variable.strip_prefix(PREFIX) else { continue };
            if CLIENT_VARIABLES.contains(&variable.as_str()) {
                continue;
            }
            let name = name.to_lowercase();
            if name == "rust_log" || !self.offer(&name, variable.clone(), value) {
                let suggestion = similar(&name).map(|name| format!("{PREFIX}{}", name.to_uppercase()));
                return Err(SettingError::Unknown { spelling: variable, suggestion });
            }
        }
        Ok(self)
    }

    /// Takes a file: the one named, which must be there, or `datasonar.toml` in the working directory, which may.
    ///
    /// # Errors
    /// When it cannot be read, is not TOML, or has a key that is no setting.
    pub fn file(self, path: Option<&Path>) -> Result<Self, SettingError> {
        let shown = path.unwrap_or(Path::new(FILE));
        let fail = |reason: String| SettingError::File { path: shown.display().to_string(), reason };
        match fs::read_to_string(shown) {
            Ok(text) => self.toml(&text, shown),
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_none() => Ok(self),
            Err(error) => Err(fail(error.to_string())),
        }
    }

    fn toml(mut self, text: &str, path: &Path) -> Result<Self, SettingError> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| SettingError::File {
            path: path.display().to_string(),
            reason: error.to_string(),
        })?;
        for (name, value) in flatten("", table) {
            let spelling = format!("{name} in {}", path.display());
            if !self.offer(&name, spelling.clone(), value) {
                return Err(SettingError::Unknown { spelling, suggestion: similar(&name).map(str::to_owned) });
            }
        }
        Ok(self)
    }

    /// Keeps a value unless an earlier source gave one. Tells whether there is such a setting.
    fn offer(&mut self, name: &str, spelling: String, value: String) -> bool {
        let Some(spec) = SPECS.iter().find(|spec| spec.name == name) else { return false };
        self.given.entry(spec.name).or_insert(Given { spelling, value });
        true
    }

    /// Makes settings of what was given and of the defaults. An encryption key that was not given is read from the data
    /// directory, or made there; where processes share a database it must be given, because they may not share a directory.
    ///
    /// # Errors
    /// The first setting that is malformed or cannot be served.
    pub fn settings(&self) -> Result<Settings, SettingError> {
        let encryption_key = match self.given.get("encryption_key") {
            Some(given) => given.parse("64 hex digits", parse::encryption_key).map_err(hide_value)?,
            None if self.has_database_url() => return Err(key_is_missing()),
            None => kept_key(&self.data_dir())?,
        };
        Ok(Settings { encryption_key, ..self.settings_without_key()? })
    }

    /// The same for what encrypts and decrypts nothing: asks for no key and makes none.
    ///
    /// # Errors
    /// The first setting that is malformed or cannot be served.
    pub fn settings_without_key(&self) -> Result<Settings, SettingError> {
        let data_dir = self.data_dir();
        let number = "a whole number of at least 1";
        let duration = |name| self.get(name).parse("a duration such as 30s, 10m or 7d", parse::duration);
        let session = |name| {
            let at_least = |text: &str| parse::duration(text).filter(|given| *given >= SHORTEST_SESSION);
            self.get(name).parse("a duration of at least 5m, such as 12h or 14d", at_least)
        };
        let bytes = |name| self.get(name).parse("a size such as 10MiB or 10485760", parse::bytes);
        let at_least_one = |text: &str| text.parse::<usize>().ok().filter(|&number| number > 0);
        let optional = |name| Some(self.get(name).value).filter(|value| !value.is_empty());
        Ok(Settings {
            listen: self.get("listen").parse("an address such as 127.0.0.1:8080", |text| text.parse().ok())?,
            public_url: optional("public_url"),
            data_dir,
            database_url: optional("database_url"),
            blob_url: self.blob_url()?,
            aws: self.aws.clone(),
            roles: self.get("roles").parse("some of api, worker, dispatcher, scheduler", |text| {
                parse::list(text, parse::role).filter(|roles| !roles.is_empty())
            })?,
            encryption_key: String::new(),
            allow_private_networks: self
                .get("allow_private_networks")
                .parse("a list of CIDRs such as 10.0.0.0/8", |text| parse::list(text, |net| net.parse().ok()))?,
            fetch_concurrency: self.get("fetch_concurrency").parse(number, at_least_one)?,
            fetch_per_host_concurrency: self.get("fetch_per_host_concurrency").parse(number, at_least_one)?,
            fetch_per_host_delay: duration("fetch_per_host_delay")?,
            fetch_timeout: duration("fetch_timeout")?,
            fetch_max_bytes: bytes("fetch_max_bytes")?,
            fetch_retries: self.get("fetch_retries").parse("a whole number", |text| text.parse().ok())?,
            crawl_max_sitemaps: self
                .get("crawl_max_sitemaps")
                .parse("a whole number of at most 1000", |text| text.parse().ok().filter(|number| *number <= 1_000))?,
            fetch_user_agent: self.get("fetch_user_agent").value,
            render_browser: optional("render_browser").map(PathBuf::from),
            render_concurrency: self.get("render_concurrency").parse(number, at_least_one)?,
            render_memory: self.get("render_memory").parse("a size of at least 64MiB, such as 512MiB", |text| {
                parse::bytes(text).filter(|bytes| (SMALLEST_RENDERER..=u64::from(u32::MAX) << 10).contains(bytes))
            })?,
            render_user: self.get("render_user").value,
            render_sandbox: self.get("render_sandbox").parse("on or off", parse::switch)?,
            webhook_timeout: duration("webhook_timeout")?,
            webhook_retry_schedule: self
                .get("webhook_retry_schedule")
                .parse("a list of ascending durations such as 30s,2m,10m", |text| {
                    parse::list(text, parse::duration).filter(|offsets| offsets.is_sorted() && !offsets.is_empty())
                })?,
            webhook_max_attempts: self
                .get("webhook_max_attempts")
                .parse(number, |text| text.parse().ok().filter(|&number| number > 0))?,
            webhook_ca_file: optional("webhook_ca_file").map(PathBuf::from),
            result_retention: duration("result_retention")?,
            log_retention: duration("log_retention")?,
            plans: self.plans()?,
            session_lifetime: session("session_lifetime")?,
            session_idle: session("session_idle")?,
            max_request_bytes: bytes("max_request_bytes")?,
            log_format: self.get("log_format").parse("text or json", parse::log_format)?,
            rust_log: self.get("rust_log").value,
        })
    }

    /// Settings with the encryption key that was given or is kept in the data directory, and with none if there is none, whatever
    /// database is named beside it. Makes nothing.
    ///
    /// # Errors
    /// The first setting that is malformed or cannot be served.
    pub fn settings_with_known_key(&self) -> Result<Settings, SettingError> {
        let data_dir = self.data_dir();
        let encryption_key = match self.given.get("encryption_key") {
            Some(given) => given.parse("64 hex digits", parse::encryption_key).map_err(hide_value)?,
            None if data_dir.join(KEY_FILE).exists() => kept_key(&data_dir)?,
            None => String::new(),
        };
        Ok(Settings { encryption_key, ..self.settings_without_key()? })
    }

    /// Whether the encryption key was given, rather than kept in the data directory.
    pub fn has_encryption_key(&self) -> bool {
        self.given.contains_key("encryption_key")
    }

    /// Whether the rows are in a database that servers share.
    pub fn has_database_url(&self) -> bool {
        !self.get("database_url").value.is_empty()
    }

    /// Where the embedded store is or would be. Makes nothing.
    pub fn data_dir(&self) -> PathBuf {
        self.get("data_dir").value.into()
    }

    fn get(&self, name: &str) -> Given {
        self.given.get(name).cloned().unwrap_or_else(|| {
            let spec = SPECS.iter().find(|spec| spec.name == name).expect("only settings of the table are asked for");
            Given { spelling: spec.flag(), value: spec.default.to_owned() }
        })
    }

    fn plans(&self) -> Result<[PlanLimits; 5], SettingError> {
        let limits = AccountPlan::ALL.map(|plan| -> Result<PlanLimits, SettingError> {
            let get = |limit: &str| self.get(&format!("plan_{plan}_{limit}"));
            let most = |limit| get(limit).parse("a whole number of at least 1, or unlimited", parse::most);
            Ok(PlanLimits {
                pages_per_month: most("pages_per_month")?,
                requests_per_minute: most("requests_per_minute")?,
                concurrent_jobs: most("concurrent_jobs")?,
                result_retention: get("result_retention")
                    .parse("a duration such as 30s, 10m or 7d", parse::duration)?,
            })
        });
        let [free, starter, pro, business, enterprise] = limits;
        Ok([free?, starter?, pro?, business?, enterprise?])
    }

    fn blob_url(&self) -> Result<Option<BlobUrl>, SettingError> {
        let given = self.get("blob_url");
        if given.value.trim().is_empty() {
            return Ok(None);
        }
        BlobUrl::parse(given.value.trim()).map(Some).map_err(|reason| given.refused(reason))
    }
}

fn key_is_missing() -> SettingError {
    SettingError::Refused {
        spelling: "DATASONAR_ENCRYPTION_KEY".to_owned(),
        reason:
            "must be given with DATABASE_URL: 64 hex digits, the same for all processes (`openssl rand -hex 32` makes \
                 such a key; one made before is in the file encryption.key of the data directory)"
                .to_owned(),
    }
}

/// A key that is wrong may still be most of the right one.
fn hide_value(error: SettingError) -> SettingError {
    match error {
        SettingError::Malformed { spelling, expected, .. } => {
            SettingError::Malformed { spelling, value: "…".to_owned(), expected }
        }
        other => other,
    }
}

/// The groups of a file are prefixes: `[fetch] timeout` is `fetch_timeout`.
fn flatten(prefix: &str, table: toml::Table) -> Vec<(String, String)> {
    let mut flat = Vec::new();
    for (key, value) in table {
        let name = if prefix.is_empty() { key } else { format!("{prefix}_{key}") };
        match value {
            toml::Value::Table(group) => flat.extend(flatten(&name, group)),
            toml::Value::Array(items) => {
                let items: Vec<String> = items.into_iter().map(plain).collect();
                flat.push((name, items.join(",")));
            }
            value => flat.push((name, plain(value))),
        }
    }
    flat
}

fn plain(value: toml::Value) -> String {
    match value {
        toml::Value::String(text) => text,
        other => other.to_string(),
    }
}

/// The setting whose name is most like a mistyped one, if any is.
fn similar(name: &str) -> Option<&'static str> {
    let shared = |spec: &&str| {
        let pairs = |text: &str| text.as_bytes().windows(2).map(<[u8]>::to_vec).collect::<Vec<_>>();
        let own = pairs(spec);
        let common = pairs(name).iter().filter(|pair| own.contains(pair)).count();
        (2 * common * 100) / (own.len() + name.len()).max(1)
    };
    SPECS.iter().map(|spec| spec.name).max_by_key(shared).filter(|name| shared(name) >= 60)
}

/// Reads the key kept in the data directory, or makes one and keeps it, readable by its owner alone.
fn kept_key(data_dir: &Path) -> Result<String, SettingError> {
    let path = data_dir.join(KEY_FILE);
    let fail = |reason: String| SettingError::File { path: path.display().to_string(), reason };
    match fs::read_to_string(&path) {
        Ok(key) => {
            return parse::encryption_key(key.trim()).ok_or_else(|| fail("it does not hold 64 hex digits".to_owned()));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(fail(error.to_string())),
    }
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| fail("the system has no random numbers to give".to_owned()))?;
    let key = hex::encode(bytes);
    keep(data_dir, &path, &key).map_err(|error| fail(error.to_string()))?;
    // Two first starts at once: the file that won is the one that counts.
    fs::read_to_string(&path).map(|kept| kept.trim().to_owned()).map_err(|error| fail(error.to_string()))
}

/// Writes the key beside its place, syncs it, and links it there unless another process was first.
fn keep(data_dir: &Path, path: &Path, key: &str) -> io::Result<()> {
    use std::io::Write;
    create_private_dir(data_dir)?;
    let mut file = tempfile::Builder::new().prefix("encryption").tempfile_in(data_dir)?;
    writeln!(file, "{key}")?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => fs::File::open(data_dir)?.sync_all(),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error.error),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn key() -> (String, String) {
        ("DATASONAR_ENCRYPTION_KEY".to_owned(), "ab".repeat(32))
    }

    fn from_environment(variables: &[(&str, &str)]) -> Result<Settings, SettingError> {
        let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Sources::default().environment(owned.chain([key()]))?.settings()
    }

    #[test]
    fn flags_come_before_the_environment_before_the_file_before_the_default() {
        let settings = Sources::default()
            .flags([("fetch_retries", "1".to_owned())])
            .environment([
                key(),
                ("DATASONAR_FETCH_RETRIES".to_owned(), "3".to_owned()),
                ("DATASONAR_FETCH_TIMEOUT".to_owned(), "5s".to_owned()),
            ])
            .unwrap()
            .toml("[fetch]\nretries = 4\ntimeout = \"6s\"\nconcurrency = 7\n", Path::new("datasonar.toml"))
            .unwrap()
            .settings()
            .unwrap();
        assert_eq!(settings.fetch_retries, 1);
        assert_eq!(settings.fetch_timeout, Duration::from_secs(5));
        assert_eq!(settings.fetch_concurrency, 7);
        assert_eq!(settings.listen, SocketAddr::from(([127, 0, 0, 1], 8080)));
        assert_eq!(settings.webhook_retry_schedule.len(), 6);
        assert_eq!(settings.result_retention, Duration::from_secs(7 * 24 * 60 * 60));
        assert!(!format!("{settings:?}").contains("abab"));
    }

    #[test]
    fn plans_are_groups_of_a_file() {
        let text = "[plan.free]\npages_per_month = 7\nconcurrent_jobs = \"unlimited\"\n[plan.pro]\nresult_retention = \"2d\"\n";
        let settings = Sources::default()
            .flags([("plan_free_requests_per_minute", "9".to_owned())])
            .environment([key(), ("DATASONAR_PLAN_FREE_REQUESTS_PER_MINUTE".to_owned(), "8".to_owned())])
            .unwrap()
            .toml(text, Path::new("datasonar.toml"))
            .unwrap()
            .settings()
            .unwrap();
        let free = AccountPlan::Free.limits(&settings);
        let told = (free.pages_per_month, free.requests_per_minute, free.concurrent_jobs);
        assert_eq!(told, (Some(7), Some(9), None));
        assert_eq!(AccountPlan::Pro.limits(&settings).result_retention, Duration::from_secs(2 * 24 * 60 * 60));
        assert_eq!(AccountPlan::Enterprise.limits(&settings).pages_per_month, None, "as it is by default");
    }

    #[test]
    fn what_is_unknown_is_named() {
        let error = from_environment(&[("DATASONAR_FETCH_TIMOUT", "5s")]).unwrap_err().to_string();
        assert_eq!(error, "unknown setting DATASONAR_FETCH_TIMOUT; did you mean DATASONAR_FETCH_TIMEOUT?");
        let file = Sources::default().toml("[fetch]\nsped = 1\n", Path::new("my.toml")).unwrap_err().to_string();
        assert!(file.starts_with("unknown setting fetch_sped in my.toml"), "{file}");
        from_environment(&[("DATASONAR_API_KEY", "osk_1"), ("PATH", "/bin")]).unwrap();
    }

    #[test]
    fn what_is_malformed_is_named_with_what_was_expected() {
        for (name, value, expected) in [
            ("DATASONAR_LISTEN", "here", "an address such as 127.0.0.1:8080"),
            ("DATASONAR_FETCH_CONCURRENCY", "0", "a whole number of at least 1"),
            ("DATASONAR_FETCH_TIMEOUT", "soon", "a duration such as 30s, 10m or 7d"),
            ("DATASONAR_MAX_REQUEST_BYTES", "big", "a size such as 10MiB or 10485760"),
            ("DATASONAR_ALLOW_PRIVATE_NETWORKS", "10.0.0.0/99", "a list of CIDRs such as 10.0.0.0/8"),
            ("DATASONAR_ROLES", "api,cook", "some of api, worker, dispatcher, scheduler"),
            ("DATASONAR_WEBHOOK_RETRY_SCHEDULE", "2m,30s", "a list of ascending durations such as 30s,2m,10m"),
            ("DATASONAR_SESSION_IDLE", "1m", "a duration of at least 5m, such as 12h or 14d"),
            ("DATASONAR_LOG_FORMAT", "xml", "text or json"),
            ("DATASONAR_PLAN_FREE_PAGES_PER_MONTH", "0", "a whole number of at least 1, or unlimited"),
            ("DATASONAR_PLAN_PRO_RESULT_RETENTION", "unlimited", "a duration such as 30s, 10m or 7d"),
        ] {
            let error = from_environment(&[(name, value)]).unwrap_err().to_string();
            assert_eq!(error, format!("{name} is `{value}`, which is not {expected}"));
        }
        let secret = Sources::default()
            .environment([("DATASONAR_ENCRYPTION_KEY".to_owned(), "hunter2".to_owned())])
            .unwrap()
            .settings();
        let error = secret.unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
        let error = from_environment(&[("DATASONAR_BLOB_URL", "s3://")]).unwrap_err().to_string();
        assert!(error.starts_with("DATASONAR_BLOB_URL: it names no bucket"), "{error}");
    }

    #[test]
    fn a_shared_database_needs_a_key_that_is_given_and_nothing_else_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let sources = || {
            let data_dir = directory.path().to_string_lossy().into_owned();
            let variables = [
                ("DATASONAR_DATA_DIR".to_owned(), data_dir),
                ("DATASONAR_DATABASE_URL".to_owned(), "postgres://db.example/datasonar".to_owned()),
                ("DATASONAR_BLOB_URL".to_owned(), "s3://blobs/production".to_owned()),
                ("AWS_REGION".to_owned(), "eu-west-1".to_owned()),
            ];
            Sources::default().environment(variables).unwrap()
        };
        let error = sources().settings().unwrap_err().to_string();
        assert!(error.contains("DATASONAR_ENCRYPTION_KEY"), "{error}");
        sources().settings_without_key().unwrap();
        let settings = sources().environment([key()]).unwrap().settings().unwrap();
        let place = BlobUrl::S3 { bucket: "blobs".to_owned(), prefix: "production".to_owned() };
        assert_eq!(settings.blob_url, Some(place));
        assert_eq!(settings.aws.first(&["AWS_REGION"]), Some("eu-west-1"));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_key_is_made_once_and_kept_private() {
        let directory = tempfile::tempdir().unwrap();
        let load = || {
            let flags = [("data_dir", directory.path().to_string_lossy().into_owned())];
            Sources::default().flags(flags).settings().unwrap().encryption_key
        };
        let first = load();
        assert_eq!(first.len(), 64);
        assert_eq!(first, load());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(directory.path().join("encryption.key")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}
