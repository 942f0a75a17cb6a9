//! Runs the scripts that drive the browser, and does what they ask for.

use std::{
    env,
    io::{self, Write},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::Command,
};

/// Set where all that the tests need is to be there: a browser that is missing is then a failure.
const REQUIRED: &str = "TEST_BROWSER_REQUIRED";
/// How long a script may take, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(580);

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser")
}

/// Whether there is a browser, and what drives it. `scripts/browser` installs both.
pub(crate) fn is_there() -> bool {
    let chromium = env::var_os("CHROMIUM").map_or_else(|| PathBuf::from("/usr/bin/chromium"), PathBuf::from);
    let is_there = chromium.exists() && directory().join("node_modules/playwright-core").exists();
    if !is_there {
        let told = "there is no browser to test with: scripts/browser installs one";
        assert!(env::var_os(REQUIRED).is_none(), "{told}");
        // Past the test's capture: who runs the tests is to know.
        let _ = writeln!(io::stderr(), "skipped: {told}");
    }
    is_there
}

/// Runs a script to its end. What it asks for is a JSON value a line, and so is what it is answered.
pub(crate) async fn run(name: &str, given: &Value, mut asked: impl AsyncFnMut(Value) -> Value) {
    let mut command = Command::new("node");
    command.arg(directory().join(name)).env("TEST_GIVEN", given.to_string()).kill_on_drop(true);
    let mut script = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut told, asks) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
    let mut asks = BufReader::new(asks).lines();
    let whole = async {
        while let Some(line) = asks.next_line().await.unwrap() {
            let answer = asked(serde_json::from_str(&line).unwrap()).await;
            told.write_all(format!("{answer}\n").as_bytes()).await.unwrap();
        }
        script.wait().await.unwrap()
    };
    let status = tokio::time::timeout(PATIENCE, whole).await.expect("the script does not end");
    assert!(status.success(), "{name} ended with {status}; what it found is above");
}
