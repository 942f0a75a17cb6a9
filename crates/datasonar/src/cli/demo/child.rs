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
    process::{ChildStdout, Command},
    sync::mpsc,
};
use url::Url;

use crate::{
    cli::client::{Api, Server},
    people::LINK_PATH,
};

/// How long a server may take to be ready, and to stop.
const WITHIN: Duration = Duration::from_secs(30);
/// How often another port is tried when somebody took the one that was free.
const PORTS: usize = 3;

/// A running server. Dropping it kills it.
pub struct Child {
    process: tokio::process::Child,
    port: u16,
    log: PathBuf,
    /// The production and the sandbox key, if it made them at this start.
    pub keys: Option<(String, String)>,
    /// The sign-in link, likewise.
    pub sign_in_link: Option<String>,
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
        for _ in 1..PORTS {
            match Self::start_at(program, data_dir, free_port()?, variables).await {
                Err(error) if format!("{error:#}").contains("in use") => {}
                started => return started,
            }
        }
        Self::start_at(program, data_dir, free_port()?, variables).await
    }

    /// The same on this port and no other: for tests that put a server in another's place.
    ///
    /// # Errors
    /// When it does not start, with its last words.
    pub async fn start_at(program: &Path, data_dir: &Path, port: u16, variables: &[(&str, String)]) -> Result<Self> {
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
        let mut child = Self { process, port, log, keys: None, sign_in_link: None };
        let (sender, mut keys) = mpsc::unbounded_channel();
        tokio::spawn(read_keys(stdout, sender));
        if let Err(error) = child.wait_until_ready().await {
            child.kill().await?;
            return Err(error);
        }
        let shown = data_dir.join("keys-shown");
        if !shown.exists() {
            let all = async { Some([keys.recv().await?, keys.recv().await?, keys.recv().await?]) };
            if let Ok(Some([production, sandbox, link])) = tokio::time::timeout(Duration::from_secs(5), all).await {
                (child.keys, child.sign_in_link) = (Some((production, sandbox)), Some(link));
            }
            fs::write(shown, "")?;
        }
        Ok(child)
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let api = Api::new(Server { server: self.url(), api_key: String::new() })?;
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

    /// Its process, while it runs: for tests that stop and continue it.
    pub fn id(&self) -> Option<u32> {
        self.process.id()
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
        self.terminate().await?;
        let status = tokio::time::timeout(WITHIN, self.process.wait())
            .await
            .with_context(|| format!("the server has not stopped after {WITHIN:?}"))??;
        if !status.success() {
            bail!("the server ended with {status}:\n{}", last_words(&self.log));
        }
        Ok(begin.elapsed())
    }

    /// Stops it in whatever state it is: asks first, then kills. When this returns it is gone.
    pub async fn end(&mut self) {
        // It may have ended already, of itself or of the Ctrl-C that the terminal sent to both of us.
        if self.terminate().await.is_err() || tokio::time::timeout(WITHIN, self.process.wait()).await.is_err() {
            // It is gone then, or dropping it is all that is left to try.
            let _ = self.kill().await;
        }
    }

    /// Sends SIGTERM, by the shell: it is the one program that is everywhere and can.
    async fn terminate(&mut self) -> Result<()> {
        let id = self.process.id().context("the server has ended already")?;
        let sent = Command::new("sh").args(["-c", "kill -TERM \"$1\"", "sh"]).arg(id.to_string()).status().await?;
        if !sent.success() {
            bail!("the server cannot be told to stop");
        }
        Ok(())
    }
}

/// A port that is free at this moment; whoever takes it in between makes the start fail, and another is tried.
fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Picks the keys, and the link after them, out of what a first start prints. Reads on to the end, so that the server can always write.
async fn read_keys(stdout: ChildStdout, keys: mpsc::UnboundedSender<String>) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let shown = match line.split_whitespace().collect::<Vec<_>>()[..] {
            [_, key] if key.starts_with("osk_") => key,
            [link] if link.contains(LINK_PATH) => link,
            _ => continue,
        };
        // Whoever no longer listens has what it needs.
        let _ = keys.send(shown.to_owned());
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
