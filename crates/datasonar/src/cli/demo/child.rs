//! A server as a child process.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};
use url::Url;

/// How long a server may take to be ready, and to stop.
const WITHIN: Duration = Duration::from_secs(30);

/// A running server. Dropping it kills it.
pub struct Child {
    process: tokio::process::Child,
    port: u16,
    log: PathBuf,
    /// The production and the sandbox key, if it made them at this start.
    pub keys: Option<(String, String)>,
}

impl Child {
    /// Starts this program's `serve` on a data directory and a free port, and waits until it is ready. Loopback addresses
    /// may be fetched and delivered to.
    ///
    /// # Errors
    /// When it does not start, with its last words.
    pub async fn start(data_dir: &Path, variables: &[(&str, String)]) -> Result<Self> {
        Self::start_program(&std::env::current_exe()?, data_dir, variables).await
    }

    /// The same with another program file: for tests.
    ///
    /// # Errors
    /// When it does not start, with its last words.
    pub async fn start_program(program: &Path, data_dir: &Path, variables: &[(&str, String)]) -> Result<Self> {
        // Free at this moment; whoever takes it in between makes the start fail, and says so.
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        fs::create_dir_all(data_dir)?;
        let log = data_dir.join("server.log");
        let mut process = Command::new(program)
            .arg("serve")
            .env("DATASONAR_DATA_DIR", data_dir)
            .env("DATASONAR_LISTEN", format!("127.0.0.1:{port}"))
            .env("DATASONAR_ALLOW_PRIVATE_NETWORKS", "127.0.0.0/8,::1/128")
            .envs(variables.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::options().create(true).append(true).open(&log)?)
            .kill_on_drop(true)
            .spawn()
            .context("the server cannot be started")?;
        let stdout = process.stdout.take().context("the server has no output")?;
        let mut child = Self { process, port, log, keys: None };
        let mut lines = BufReader::new(stdout).lines();
        let (sender, mut keys) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let mut words = line.split_whitespace();
                if let (Some(name @ ("production" | "sandbox")), Some(key)) = (words.next(), words.next()) {
                    // Whoever no longer listens has what it needs.
                    let _ = sender.send((name.to_owned(), key.to_owned()));
                }
            }
        });
        child.wait_until_ready().await?;
        let is_new = fs::read_to_string(data_dir.join("keys-shown")).is_err();
        if is_new {
            let both = async { Some((keys.recv().await?.1, keys.recv().await?.1)) };
            child.keys = tokio::time::timeout(Duration::from_secs(5), both).await.ok().flatten();
            fs::write(data_dir.join("keys-shown"), "")?;
        }
        Ok(child)
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let api = super::super::client::Api::new(super::super::client::Server {
            server: self.url(),
            api_key: String::new(),
        })?;
        let ready = async {
            loop {
                if let Some(status) = self.process.try_wait()? {
                    bail!("the server ended with {status}:\n{}", last_words(&self.log));
                }
                let answer = api.call(http::Method::GET, "/readyz", http::HeaderMap::new(), None).await;
                if answer.is_ok_and(|answer| answer.status().is_success()) {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(WITHIN, ready)
            .await
            .with_context(|| format!("the server is not ready after {WITHIN:?}:\n{}", last_words(&self.log)))?
    }

    /// Where it listens.
    pub fn url(&self) -> Url {
        format!("http://127.0.0.1:{}/", self.port).parse().expect("an address and a port make a URL")
    }

    /// The end of its log.
    pub fn last_words(&self) -> String {
        last_words(&self.log)
    }

    /// The most memory it has had so far, in bytes; `None` where the system does not tell.
    pub fn peak_memory(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()?)).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kilobytes * 1_024)
    }

    /// Kills it at once, as `kill -9` does, and waits until it is gone.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill(&mut self) -> Result<()> {
        Ok(self.process.kill().await?)
    }

    /// Asks it to stop (SIGTERM), and waits until it has. Answers how long it took.
    ///
    /// # Errors
    /// When it does not stop in time, or ends with a failure.
    pub async fn stop(&mut self) -> Result<Duration> {
        let begin = tokio::time::Instant::now();
        let id = self.process.id().context("the server has ended already")?;
        let killed = Command::new("kill").arg("-TERM").arg(id.to_string()).status().await?;
        if !killed.success() {
            bail!("the server cannot be told to stop");
        }
        let status = tokio::time::timeout(WITHIN, self.process.wait())
            .await
            .with_context(|| format!("the server has not stopped after {WITHIN:?}"))??;
        if !status.success() {
            bail!("the server ended with {status}:\n{}", last_words(&self.log));
        }
        Ok(begin.elapsed())
    }
}

/// The end of a log: what a person needs to see why.
fn last_words(log: &Path) -> String {
    let mut text = Vec::new();
    if let Ok(mut file) = File::open(log) {
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        let _ = file.seek(SeekFrom::Start(length.saturating_sub(4_000)));
        let _ = file.read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}
