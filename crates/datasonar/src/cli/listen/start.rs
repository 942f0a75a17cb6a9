//! Starts the local receiver, says how it is delivered to, and shows what comes.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use http::StatusCode;
use tempfile::TempDir;

use super::{
    ListenArgs,
    receiver::{Note, Options, Receiver},
    report,
    secrets::{Secrets, Source},
};
use crate::{
    cli::{
        args::StoreArgs,
        client::{Api, Server},
        local::Interrupt,
        paint::{Paint, count, time_of_day},
        say, say_error,
    },
    clock::{Clock, SystemClock},
};

pub(super) async fn run(args: ListenArgs) -> Result<ExitCode> {
    let mut interrupt = Interrupt::new()?;
    let (source, origin) = source(args.secrets, args.server, args.store)?;
    let status = StatusCode::from_u16(args.status).context("the status is not one")?;
    let options = Options { status, delay: args.delay, save: args.save, secrets: source.map(Secrets::new) };
    if let Some(secrets) = &options.secrets {
        // What is wrong with them should be known now rather than when a callback comes.
        if let Err(error) = secrets.now().await {
            say_error(&format!("The secrets to verify with are not there yet: {error:#}\n"));
        }
    }
    let mut receiver = Receiver::start(args.listen, options).await?;
    let (ca_file, _directory) = place(args.ca_file, receiver.address)?;
    fs::write(&ca_file, &receiver.ca_pem).with_context(|| format!("cannot write {}", ca_file.display()))?;
    let paint = Paint::of_stdout(args.json);
    let text = welcome(receiver.address, &ca_file, &origin);
    // For machines, standard output has requests only.
    if args.json {
        say_error(&text)
    } else {
        say(&text)
    }
    let mut tally = Tally::default();
    loop {
        tokio::select! {
            () = interrupt.wait() => break,
            note = receiver.next() => match note {
                Some(note) => show(&note, &mut tally, paint, args.json),
                None => break,
            },
        }
    }
    let summary = format!("\n{}", tally.summary());
    if args.json {
        say_error(&summary)
    } else {
        say(&summary)
    }
    Ok(ExitCode::SUCCESS)
}

/// Where secrets come from, and how that is called: given, else those of the store that was named, of the API, of the store
/// that is there.
fn source(secrets: Vec<String>, server: Server, store: StoreArgs) -> Result<(Option<Source>, String)> {
    if !secrets.is_empty() {
        let origin = format!("with the {} given", count(secrets.len() as u64, "secret"));
        return Ok((Some(Source::Given(secrets)), origin));
    }
    let is_named = store.is_given();
    if !is_named && !server.api_key.is_empty() {
        let origin = format!("with the secrets that {} signs with", server.server);
        return Ok((Some(Source::Api(Api::new(server)?)), origin));
    }
    match store.settings_of_a_store()? {
        Some(settings) => {
            let origin = match settings.database_url {
                Some(_) => "with the secrets of the store at DATABASE_URL".to_owned(),
                None => format!("with the secrets of the store in {}", settings.data_dir.display()),
            };
            Ok((Some(Source::Store(Box::new(settings))), origin))
        }
        None if is_named => bail!("there is no store in the data directory that was named"),
        None => Ok((None, "not verified: pass --secret, --api-key or --data-dir".to_owned())),
    }
}

/// The file for the authority's certificate, with the directory that it takes along if that is temporary.
fn place(given: Option<PathBuf>, address: SocketAddr) -> Result<(PathBuf, Option<TempDir>)> {
    if let Some(path) = given {
        return Ok((std::path::absolute(path)?, None));
    }
    // Told apart by port: several may run at a time.
    let name = format!("listen-{}-ca.pem", address.port());
    let from = |variable: &str| std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = from("XDG_CACHE_HOME").or_else(|| from("HOME").map(|home| home.join(".cache")));
    if let Some(directory) = cache.map(|path| path.join("datasonar"))
        && fs::create_dir_all(&directory).is_ok()
    {
        return Ok((directory.join(name), None));
    }
    let directory = tempfile::Builder::new().prefix("datasonar-listen-").tempdir()?;
    Ok((directory.path().join(name), Some(directory)))
}

/// How callbacks find their way here.
fn welcome(address: SocketAddr, ca_file: &Path, origin: &str) -> String {
    let (ip, port) = (address.ip(), address.port());
    let is_this_machine = ip.is_loopback() || ip.is_unspecified();
    let url = if is_this_machine { format!("https://localhost:{port}/") } else { format!("https://{address}/") };
    let networks = match ip {
        _ if is_this_machine => "127.0.0.0/8,::1/128".to_owned(),
        IpAddr::V4(ip) => format!("{ip}/32"),
        IpAddr::V6(ip) => format!("{ip}/128"),
    };
    let ca_file = quoted(&ca_file.display().to_string());
    format!(
        r#"Receiving at {url}, any path. Ctrl-C ends it.

  CA certificate  {ca_file}, new at each start
  signatures      {origin}

A server delivers here if it is started, after this, with

  DATASONAR_WEBHOOK_CA_FILE={ca_file} \
  DATASONAR_ALLOW_PRIVATE_NETWORKS={networks} \
  datasonar serve

and jobs are queued with "webhook_url": "{url}".
"#
    )
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    let is_plain = |next: char| next.is_ascii_alphanumeric() || "/._-+:@%".contains(next);
    if word.chars().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

fn show(note: &Note, tally: &mut Tally, paint: Paint, as_json: bool) {
    tally.take(note);
    match note {
        Note::Received(received) if as_json => say(&report::for_machines(received).to_string()),
        Note::Received(received) => say(&report::for_people(received, paint)),
        Note::Refused(reason) => {
            let time = paint.dim(&time_of_day(SystemClock.now()));
            let line =
                format!("{time}  {} {reason}\n{}", paint.notable("a connection was broken off:"), advice(reason));
            if as_json { say_error(&line) } else { say(&line) }
        }
    }
}

/// What may be behind a connection that ended before it was secure.
fn advice(reason: &str) -> &'static str {
    if reason.contains("InvalidContentType") {
        "          It seems to speak plain http: the URL begins with https.\n"
    } else if reason.contains("UnknownCA") || reason.contains("alert") {
        "          It does not trust this receiver: the server needs WEBHOOK_CA_FILE, and a start after this one's.\n"
    } else {
        ""
    }
}

/// What came, in numbers.
#[derive(Default)]
struct Tally {
    requests: u64,
    sound: u64,
    repeated: u64,
    broken: u64,
}

impl Tally {
    fn take(&mut self, note: &Note) {
        let Note::Received(received) = note else { return };
        self.requests += 1;
        self.sound += u64::from(received.answer.is_ok() && received.verdicts.is_sound());
        self.repeated += u64::from(received.before > 0);
        self.broken += u64::from(received.answer.is_err());
    }

    fn summary(&self) -> String {
        let mut text =
            format!("{} received, {} with both signatures valid", count(self.requests, "request"), self.sound);
        for (number, what) in [(self.repeated, "repeated"), (self.broken, "broken off")] {
            if number > 0 {
                text.push_str(&format!(", {number} {what}"));
            }
        }
        text + "."
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_welcome_has_what_a_server_needs() {
        let here = welcome(([127, 0, 0, 1], 8443).into(), Path::new("/home/me/it's here.pem"), "not verified");
        insta::assert_snapshot!(here);
        let there = welcome(([10, 0, 0, 5], 9000).into(), Path::new("/ca.pem"), "");
        assert!(there.contains("https://10.0.0.5:9000/") && there.contains("=10.0.0.5/32"), "{there}");
    }
}
