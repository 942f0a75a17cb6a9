//! How each language's sample is made ready and run. `scripts/languages` installs what they need.

use std::{
    env,
    ffi::OsString,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use ring::digest;

use super::samples;

/// Set where a missing language is to fail, not to be passed over.
const ALL: &str = "VERIFY_ALL_LANGUAGES";

/// A language of the samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    Python,
    Node,
    Go,
    Ruby,
    Php,
    Java,
    Rust,
}

/// A sample that can be run.
pub(super) struct Sample {
    language: Language,
    command: Vec<OsString>,
}

impl Language {
    pub(super) const EACH: [Self; 7] =
        [Self::Python, Self::Node, Self::Go, Self::Ruby, Self::Php, Self::Java, Self::Rust];

    /// Its file in the folder of the samples.
    pub(super) fn file(self) -> &'static str {
        match self {
            Self::Python => "python/verify.py",
            Self::Node => "node/verify.js",
            Self::Go => "go/verify.go",
            Self::Ruby => "ruby/verify.rb",
            Self::Php => "php/verify.php",
            Self::Java => "java/Verify.java",
            Self::Rust => "rust/verify.rs",
        }
    }

    /// Makes its sample ready. `None`, and a line on standard error, when its tool is missing.
    pub(super) fn sample(self) -> Option<Sample> {
        let source = samples().join(self.file());
        let command: Option<Vec<OsString>> = match self {
            Self::Python => {
                let python = built().join("python/bin/python");
                runs(&[&python, Path::new("-c"), Path::new("import standardwebhooks")])
                    .then(|| vec![python.into(), source.into()])
            }
            Self::Node => {
                // Node looks for modules beside the file.
                let directory = built().join("node");
                let is_there = directory.join("node_modules/standardwebhooks").exists() && has("node", "--version");
                is_there.then(|| {
                    let copy = directory.join("verify.js");
                    fs::copy(&source, &copy).unwrap();
                    vec!["node".into(), copy.into()]
                })
            }
            // Half the time of a short run goes into looking for gems, and the sample needs none.
            Self::Ruby => has("ruby", "--version").then(|| vec!["ruby".into(), "--disable-gems".into(), source.into()]),
            Self::Php => has("php", "--version").then(|| vec!["php".into(), source.into()]),
            Self::Go => has("go", "version").then(|| {
                let directory = compiled("go", &source, |out| {
                    let mut go = Command::new("go");
                    go.env("GOCACHE", built().join("go-cache")).args(["build", "-o"]).arg(out.join("verify"));
                    go
                });
                vec![directory.join("verify").into()]
            }),
            Self::Java => has("javac", "-version").then(|| {
                let directory = compiled("java", &source, |out| {
                    let mut javac = Command::new("javac");
                    javac.arg("-d").arg(out);
                    javac
                });
                // What makes a short run short.
                ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"]
                    .map(OsString::from)
                    .into_iter()
                    .chain([directory.into(), "Verify".into()])
                    .collect()
            }),
            Self::Rust => {
                // `cargo build --example verify` puts it there.
                let example = programs().join("examples/verify");
                example.exists().then(|| vec![example.into()])
            }
        };
        if command.is_none() {
            let what = format!("the sample in {self:?} cannot be run: scripts/languages installs what is missing");
            assert!(env::var_os(ALL).is_none(), "{what}");
            // Past the test's capture: who runs the tests is to know.
            let _ = writeln!(io::stderr(), "skipped: {what}");
        }
        Some(Sample { language: self, command: command? })
    }
}

impl Sample {
    /// What it says of a request; every word of it, when that is no verdict.
    pub(super) fn run(&self, secret: &str, headers: &Path, body: &Path, now: Option<i64>) -> String {
        let (program, arguments) = self.command.split_first().unwrap();
        let mut command = Command::new(program);
        command.args(arguments).arg(secret).arg(headers).arg(body).args(now.map(|now| now.to_string()));
        let output = command.stdin(Stdio::null()).output().unwrap();
        let (said, noise) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let said = said.strip_suffix('\n').unwrap_or(&said);
        let code = i32::from(said != "valid");
        if output.status.code() == Some(code) && noise.is_empty() {
            return said.to_owned();
        }
        format!("{:?} ended with {}: {said} {noise}", self.language, output.status)
    }
}

/// Where cargo puts programs: the folder above the tests' own.
fn programs() -> PathBuf {
    env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned()
}

/// What scripts/languages installs and what is compiled here.
fn built() -> PathBuf {
    programs().parent().unwrap().join("verify")
}

fn has(program: &str, version: &str) -> bool {
    runs(&[Path::new(program), Path::new(version)])
}

fn runs(command: &[&Path]) -> bool {
    let (program, arguments) = command.split_first().unwrap();
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// The folder of what a compiler made of this source, now or in an earlier run.
fn compiled(name: &str, source: &Path, compiler: impl FnOnce(&Path) -> Command) -> PathBuf {
    let hash = hex::encode(digest::digest(&digest::SHA256, &fs::read(source).unwrap()));
    let done = built().join(name).join(&hash[..16]);
    if !done.exists() {
        fs::create_dir_all(done.parent().unwrap()).unwrap();
        let making = tempfile::tempdir_in(done.parent().unwrap()).unwrap();
        let output = compiler(making.path()).arg(source).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        // Another run may have been first.
        assert!(fs::rename(making.path(), &done).is_ok() || done.exists());
    }
    done
}
