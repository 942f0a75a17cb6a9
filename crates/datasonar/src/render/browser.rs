//! One browser: started, watched, ended.
//!
//! It is spoken to over its pipe, and so ends by itself when this process does, however that comes: the kernel closes the
//! pipe. It runs in a process group of its own, in a directory of its own that goes with it, as a user of its own where the
//! server is root, and knows nothing of the server's environment, which holds secrets. While pages are in it, its memory is
//! looked at four times a second: a renderer that takes more than a page may is killed, and with it one page; a browser that
//! takes more than all its pages may is killed as a whole.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, waitpgid, waitpid};
use serde_json::{Value, json};
use tokio::{
    io::AsyncReadExt,
    process::{Child, ChildStderr, Command},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    cdp::Cdp,
    find::{self, LaunchError, User},
    processes,
    profile::{Homes, Profile},
};
use crate::cpu;

/// Pages in one browser at a time.
pub(super) const PAGES_AT_ONCE: usize = 4;
/// A browser gets so many pages, one after the other, before another takes its place.
const MAX_PAGES: u32 = 200;
/// And is given pages for so long.
const MAX_AGE: Duration = Duration::from_secs(30 * 60);
/// One without pages is kept for so long.
const IDLE: Duration = Duration::from_secs(60);
/// How long a browser may take to start.
const START_WITHIN: Duration = Duration::from_secs(30);
/// How often its memory is looked at.
const TICK: Duration = Duration::from_millis(250);
/// What a browser takes besides its pages.
const OWN_BYTES: u64 = 512 * 1024 * 1024;
/// What is kept of what it says on its standard error.
const MAX_SAID_BYTES: usize = 4 * 1024;

/// How browsers are started.
#[derive(Clone, Debug)]
pub(super) struct Launcher {
    /// The operator's choice.
    pub(super) program: Option<PathBuf>,
    /// As whom, where the server is root.
    pub(super) user: String,
    /// Whether its own sandbox is on.
    pub(super) sandbox: bool,
    /// What a page may take.
    pub(super) memory: u64,
    /// Where the directories of browsers are.
    pub(super) homes: Homes,
}

/// A running browser. Dropped, it is killed.
pub(super) struct Browser {
    pub(super) cdp: Cdp,
    /// Its own, without the word that it is headless.
    pub(super) user_agent: String,
    places: Mutex<Places>,
    /// Renderers that were killed for their memory, and whose page has not learnt of it.
    starved: AtomicU32,
    /// Whether it was killed for its memory.
    is_overfull: AtomicBool,
    kill: CancellationToken,
    ended: CancellationToken,
}

struct Places {
    taken: usize,
    given: u32,
    idle_since: Instant,
    born: Instant,
    is_retired: bool,
}

/// A page's place in a browser.
pub(super) struct Lease {
    pub(super) browser: Arc<Browser>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut places = self.browser.places.lock();
        places.taken -= 1;
        places.idle_since = Instant::now();
    }
}

impl Browser {
    /// Takes a place, if there is one.
    pub(super) fn lease(self: &Arc<Self>) -> Option<Lease> {
        if !self.is_usable() {
            return None;
        }
        let mut places = self.places.lock();
        if places.is_retired || places.taken >= PAGES_AT_ONCE {
            return None;
        }
        places.taken += 1;
        places.given += 1;
        Some(Lease { browser: self.clone() })
    }

    /// Whether it is to be given further pages.
    pub(super) fn is_usable(&self) -> bool {
        let mut places = self.places.lock();
        places.is_retired |= places.given >= MAX_PAGES || places.born.elapsed() > MAX_AGE;
        !places.is_retired && !self.kill.is_cancelled() && !self.cdp.is_gone()
    }

    /// Kills it: it hangs, or is not needed any more.
    pub(super) fn kill(&self) {
        self.kill.cancel();
    }

    /// Waits until none of its processes lives and its directory is gone.
    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Tells a page that lost its process whether it was for its memory.
    pub(super) fn was_starved(&self) -> bool {
        let counted = self.starved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1));
        counted.is_ok() || self.is_overfull.load(Ordering::Relaxed)
    }

    /// Retires a browser that has had no page for long. Tells whether it is to end.
    fn is_idle(&self) -> bool {
        let mut places = self.places.lock();
        if places.taken == 0 && places.idle_since.elapsed() > IDLE {
            places.is_retired = true;
        }
        places.is_retired && places.taken == 0
    }

    /// Looks at the memory of its processes, and kills what takes too much.
    async fn watch(&self, group: Pid, memory: u64) {
        if self.places.lock().taken == 0 {
            return;
        }
        let number = group.as_raw_nonzero().get();
        let Ok(processes) = cpu::block(move || processes::of_group(number)).await else { return };
        for renderer in processes.iter().filter(|process| process.is_renderer && process.bytes > memory) {
            tracing::warn!(bytes = renderer.bytes, "a page takes too much memory");
            self.starved.fetch_add(1, Ordering::Relaxed);
            let killed = Pid::from_raw(renderer.id).map(|process| kill_process(process, Signal::KILL));
            if !matches!(killed, Some(Ok(()))) {
                self.starved.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let all: u64 = processes.iter().map(|process| process.bytes).sum();
        if all > OWN_BYTES + memory * PAGES_AT_ONCE as u64 {
            tracing::warn!(bytes = all, "a browser takes too much memory");
            self.is_overfull.store(true, Ordering::Relaxed);
            self.kill();
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.kill.cancel();
    }
}

impl Launcher {
    /// Starts a browser and waits until it answers.
    ///
    /// # Errors
    /// When there is none, or it does not start.
    pub(super) async fn launch(&self) -> Result<Arc<Browser>, LaunchError> {
        let launcher = self.clone();
        let prepared = cpu::block(move || launcher.prepare()).await;
        let (program, user, profile) = prepared.map_err(|panic| LaunchError::Failed(cpu::said(&panic)))??;
        let failed = |error: std::io::Error| LaunchError::Failed(format!("{}: {error}", program.display()));
        let mut child = self.command(&program, user, profile.path()).spawn().map_err(failed)?;
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let (Some(to), Some(from), Some(errors), Some(group)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take(), group)
        else {
            return Err(LaunchError::Failed("it ended at once".to_owned()));
        };
        let cdp = Cdp::start(from, to);
        let said = Arc::new(Mutex::new(Vec::new()));
        let listening = tokio::spawn(listen(errors, said.clone()));
        let (kill, ended) = (CancellationToken::new(), CancellationToken::new());
        let body = Body { child, group, profile, kill: kill.clone(), ended: ended.clone() };
        let version = cdp.call("", "Browser.getVersion", json!({}), START_WITHIN).await;
        let user_agent = match &version {
            Ok(version) => version["userAgent"].as_str().unwrap_or_default().replace("HeadlessChrome", "Chrome"),
            Err(error) => {
                body.end().await;
                // Its last words have come when its standard error is at its end.
                let _ = timeout(Duration::from_secs(1), listening).await;
                return Err(LaunchError::Failed(last_words(&said.lock(), &error.to_string())));
            }
        };
        let now = Instant::now();
        let places = Places { taken: 0, given: 0, idle_since: now, born: now, is_retired: false };
        let browser = Arc::new(Browser {
            cdp: cdp.clone(),
            user_agent,
            places: Mutex::new(places),
            starved: AtomicU32::new(0),
            is_overfull: AtomicBool::new(false),
            kill,
            ended,
        });
        tokio::spawn(close_popups(cdp.clone()));
        tokio::spawn(body.live(Arc::downgrade(&browser), cdp, self.memory));
        tracing::info!(program = %program.display(), version = version_name(version.ok()), "started a browser");
        Ok(browser)
    }

    /// What is needed for a start: the program, who runs it, and its directory.
    fn prepare(&self) -> Result<(PathBuf, Option<User>, Profile), LaunchError> {
        let program = find::browser(self.program.as_deref(), std::env::var_os("PATH").as_deref())?;
        let is_root = rustix::process::geteuid().is_root();
        let user = if is_root {
            let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
            Some(find::user(&self.user, &passwd)?)
        } else {
            None
        };
        let failed = |error: std::io::Error| LaunchError::Failed(format!("its directory cannot be made: {error}"));
        let profile = self.homes.create(user).map_err(failed)?;
        let own = profile.path().join("Default");
        fs::create_dir(&own).map_err(failed)?;
        fs::write(own.join("Preferences"), PREFERENCES).map_err(failed)?;
        if let Some(user) = user {
            for path in [profile.path(), &own, &own.join("Preferences")] {
                std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid)).map_err(failed)?;
            }
        }
        Ok((program, user, profile))
    }

    fn command(&self, program: &Path, user: Option<User>, profile: &Path) -> Command {
        let mut command = Command::new("/bin/sh");
        // The browser takes commands on descriptor 3 and answers on 4. The shell puts them there, and is replaced by it.
        let script = "ulimit -c 0; exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null";
        command.arg("-c").arg(script).arg(program).args(self.flags(user, profile));
        command.env_clear().current_dir(profile);
        let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin"));
        let home = [("HOME", profile), ("TMPDIR", profile), ("XDG_CONFIG_HOME", profile), ("XDG_CACHE_HOME", profile)];
        command.env("PATH", path).envs(home).env("LANG", "C.UTF-8").env("DBUS_SESSION_BUS_ADDRESS", "disabled:");
        if let Some(user) = user {
            command.uid(user.uid).gid(user.gid);
        }
        command.process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn flags(&self, user: Option<User>, profile: &Path) -> Vec<OsString> {
        let mut flags: Vec<OsString> = FLAGS.iter().map(Into::into).collect();
        let mut directory = OsString::from("--user-data-dir=");
        directory.push(profile);
        flags.push(directory);
        flags.push(format!("--js-flags=--max-old-space-size={}", (self.memory >> 20).max(32)).into());
        if !self.sandbox || user.is_some_and(|user| user.uid == 0) {
            flags.push("--no-sandbox".into());
        }
        flags
    }
}

/// What is in its profile from the begin: WebRTC would send packets past any proxy, and the flag that forbids it has changed its
/// name.
const PREFERENCES: &str = r#"{"webrtc": {"ip_handling_policy": "disable_non_proxied_udp", "multiple_routes_enabled": false,
    "nonproxied_udp_enabled": false}}"#;

/// What makes a browser one for pages of strangers.
const FLAGS: &[&str] = &[
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-startup-window",
    // No way out but by the proxy that each page's context is given: without one, the proxy is a name that is not resolved.
    "--proxy-server=http://nowhere.invalid:80",
    "--proxy-bypass-list=<-loopback>",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--disable-quic",
    // The same under its older and its newer name; see PREFERENCES.
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--dns-prefetch-disable",
    "--no-pings",
    // Nothing of its own accord.
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-client-side-phishing-detection",
    "--disable-component-extensions-with-background-pages",
    "--disable-component-update",
    "--disable-crash-reporter",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-extensions",
    "--disable-sync",
    "--metrics-recording-only",
    "--no-default-browser-check",
    "--no-first-run",
    "--no-service-autorun",
    "--password-store=basic",
    "--use-mock-keychain",
    // A page is alone in its context, so that its frames need no processes of their own; no page is in the background.
    "--disable-site-isolation-trials",
    "--disable-backgrounding-occluded-windows",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--disable-hang-monitor",
    "--disable-prompt-on-repost",
    "--deny-permission-prompts",
    "--disable-notifications",
    "--disable-file-system",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--mute-audio",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--font-render-hinting=none",
    // `Referer` tells other origins no more than the page's origin, from workers, too.
    "--enable-features=CapReferrerToOriginOnCrossOrigin",
    "--disable-features=AutofillServerCommunication,CertificateTransparencyComponentUpdater,DialMediaRouteProvider,\
     HttpsFirstBalancedModeAutoEnable,HttpsUpgrades,IsolateOrigins,LocalNetworkAccessChecks,MediaRouter,OptimizationHints,\
     PreloadTopChromeWebUI,Prerender2,ServiceWorkerAutoPreload,SpareRendererForSitePerProcess,Translate,\
     WebRtcHideLocalIpsWithMdns,site-per-process",
];

fn version_name(version: Option<Value>) -> String {
    version.and_then(|version| Some(version["product"].as_str()?.to_owned())).unwrap_or_default()
}

/// Closes windows that pages open besides their own.
async fn close_popups(cdp: Cdp) {
    let mut events = cdp.listen("");
    cdp.tell("", "Target.setDiscoverTargets", &json!({"discover": true}));
    while let Some(event) = events.next().await {
        let target = &event.params["targetInfo"];
        if target["type"] == "page" && target.get("openerId").is_some() {
            cdp.tell("", "Target.closeTarget", &json!({"targetId": target["targetId"]}));
        }
    }
}

/// Keeps the end of what a browser says on its standard error.
async fn listen(mut errors: ChildStderr, said: Arc<Mutex<Vec<u8>>>) {
    let mut chunk = [0; 1_024];
    while let Ok(read @ 1..) = errors.read(&mut chunk).await {
        let mut said = said.lock();
        said.extend_from_slice(&chunk[..read]);
        let surplus = said.len().saturating_sub(MAX_SAID_BYTES);
        said.drain(..surplus);
    }
}

/// What a browser said last, for people.
fn last_words(said: &[u8], otherwise: &str) -> String {
    let said = String::from_utf8_lossy(said);
    let telling = said.lines().rev().find(|line| line.contains("FATAL") || line.contains("sandbox"));
    let last = telling.or_else(|| said.lines().rev().find(|line| !line.trim().is_empty()));
    last.map_or_else(|| otherwise.to_owned(), |line| line.trim().chars().take(500).collect())
}

/// A browser's processes and directory.
struct Body {
    child: Child,
    group: Pid,
    profile: Profile,
    kill: CancellationToken,
    ended: CancellationToken,
}

impl Body {
    /// Watches over a browser until it is to end, or has ended.
    async fn live(mut self, browser: Weak<Browser>, cdp: Cdp, memory: u64) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.kill.cancelled() => break,
                () = cdp.gone() => break,
                _ = self.child.wait() => break,
                _ = ticks.tick() => {
                    let Some(browser) = browser.upgrade() else { break };
                    browser.watch(self.group, memory).await;
                    if browser.is_idle() {
                        break;
                    }
                }
            }
        }
        self.end().await;
    }

    /// Kills what lives, and clears away what is left.
    async fn end(mut self) {
        self.kill.cancel();
        // Its leader is a child of ours that was not waited for, or has just been: the number is not another's yet.
        let _ = kill_process_group(self.group, Signal::KILL);
        let _ = self.child.wait().await;
        let group = self.group;
        let number = group.as_raw_nonzero().get();
        let none_lives = async {
            while cpu::block(move || !processes::of_group(number).is_empty()).await.unwrap_or(false) {
                let _ = kill_process_group(group, Signal::KILL);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if timeout(Duration::from_secs(10), none_lives).await.is_err() {
            tracing::error!(group = number, "a browser's processes do not end");
        }
        // Where this process is the first of a container, whatever the browser left behind has become its child.
        while let Ok(Some(_)) = waitpgid(group, WaitOptions::NOHANG) {}
        for left in cpu::block(processes::left_behind).await.unwrap_or_default() {
            let _ = waitpid(Pid::from_raw(left), WaitOptions::NOHANG);
        }
        let profile = self.profile;
        let removed = cpu::block(move || profile.close()).await;
        if let Ok(Err(error)) = removed {
            tracing::warn!(%error, "a browser's directory was not removed");
        }
        self.ended.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_last_words_are_the_telling_ones() {
        assert_eq!(last_words(b"", "gone"), "gone");
        assert_eq!(last_words(b"one\ntwo\n\n", "gone"), "two");
        assert_eq!(last_words(b"a\n[1:FATAL:x] No usable sandbox!\nstack\n", "gone"), "[1:FATAL:x] No usable sandbox!");
    }

    #[test]
    fn the_sandbox_is_off_only_by_order_or_for_root() {
        let homes = Homes::new(Path::new("/tmp/x"), None);
        let launcher = Launcher { program: None, user: String::new(), sandbox: true, memory: 512 << 20, homes };
        let off = |launcher: &Launcher, user| {
            launcher.flags(user, Path::new("/tmp/x")).contains(&OsString::from("--no-sandbox"))
        };
        assert!(!off(&launcher, None));
        assert!(!off(&launcher, Some(User { uid: 65_534, gid: 65_534 })));
        assert!(off(&launcher, Some(User { uid: 0, gid: 0 })));
        assert!(off(&Launcher { sandbox: false, ..launcher }, None));
    }
}
