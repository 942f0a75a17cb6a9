//! Passes callbacks on until told to stop, and shows how it goes.

use std::process::ExitCode;

use anyhow::{Result, bail};
use http::StatusCode;
use indicatif::HumanBytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use url::Url;

use super::{
    feed::Pace,
    forward::{News, Tried, forward},
};
use crate::{
    cli::{
        client::{Api, ApiError, Server, for_terminal},
        local::Interrupt,
        paint::{Paint, count, short, time_of_day},
        say, say_error,
    },
    clock::{Clock, SystemClock},
};

/// How much may be untold before passing on waits.
const UNTOLD: usize = 64;

pub(super) async fn run(to: Url, server: Server, as_json: bool) -> Result<ExitCode> {
    if server.api_key.is_empty() {
        bail!(
            "--forward-to needs a key\n  Set DATASONAR_API_KEY, or pass --api-key. `datasonar keys create` makes a key."
        );
    }
    let mut interrupt = Interrupt::new()?;
    let mut show = Show {
        to: to.clone(),
        server: server.clone(),
        paint: Paint::of_stdout(as_json),
        as_json,
        tally: Tally::default(),
    };
    let (tell, mut news) = mpsc::channel(UNTOLD);
    let forwarding = forward(Api::new(server)?, to, Pace::default(), tell);
    tokio::pin!(forwarding);
    let failed = loop {
        tokio::select! {
            () = interrupt.wait() => break None,
            Some(news) = news.recv() => show.take(&news),
            Err(error) = &mut forwarding => break Some(error),
        }
    };
    if show.tally.is_connected {
        show.prose(&format!("\n{}", show.tally.summary()));
    }
    match failed {
        None => Ok(ExitCode::SUCCESS),
        Some(error @ ApiError::Refused { status: StatusCode::NOT_FOUND, .. }) if !show.tally.is_connected => {
            Err(anyhow::Error::new(error)
                .context("this server cannot be listened to; it may be older than this program"))
        }
        Some(error) => Err(error.into()),
    }
}

/// Shows news on standard output.
struct Show {
    to: Url,
    server: Server,
    paint: Paint,
    as_json: bool,
    tally: Tally,
}

impl Show {
    fn take(&mut self, news: &News) {
        self.tally.take(news);
        match news {
            News::Connected { is_first: true } => self.prose(&self.welcome()),
            News::Connected { is_first: false } => {
                self.prose(&self.at_present(&self.paint.good("connected again; nothing was missed")));
            }
            News::Lost { reason, again_in } => {
                let text = format!("connection lost: {}; again in {}", for_terminal(reason), short(*again_in));
                self.prose(&self.at_present(&self.paint.notable(&text)));
            }
            News::Begun => {}
            News::Tried(tried) if self.as_json => say(&for_machines(tried).to_string()),
            News::Tried(tried) => say(&for_people(tried, &self.to, self.paint)),
        }
    }

    /// For machines, standard output has tries only.
    fn prose(&self, text: &str) {
        if self.as_json { say_error(text) } else { say(text) }
    }

    fn at_present(&self, text: &str) -> String {
        format!("{}  {text}", self.paint.dim(&time_of_day(SystemClock.now())))
    }

    fn welcome(&self) -> String {
        let environment = if self.server.api_key.starts_with("osk_sandbox_") { "sandbox" } else { "production" };
        format!(
            "Passing on the callback of each {environment} job that ends. Ctrl-C ends it.\n\n  from  {}\n  to    {}\n",
            self.server.server, self.to
        )
    }
}

/// For people: a line, and another for what could not be passed on.
fn for_people(tried: &Tried, to: &Url, paint: Paint) -> String {
    let ended = &tried.ended;
    let outcome = match &tried.result {
        Ok(status) => paint.good(&format!("{} in {}", status.as_str(), short(tried.took))),
        Err(failure) => {
            let what = match failure.status() {
                Some(status) => format!("{} in {}", status.as_str(), short(tried.took)),
                None => for_terminal(&failure.to_string()),
            };
            let next = if tried.is_tried_again() { "; again in 1 s" } else { "; given up" };
            paint.bad(&what) + &paint.dim(next)
        }
    };
    let line = format!(
        "{}  {:<6}  {:<9}  {}  {:>10}  {} {outcome}",
        paint.dim(&time_of_day(tried.at)),
        for_terminal(&ended.kind),
        for_terminal(&ended.status),
        ended.job_id,
        HumanBytes(ended.bytes).to_string(),
        paint.dim("→"),
    );
    match &tried.result {
        Err(failure) if !tried.is_tried_again() => format!("{line}\n          {}", paint.notable(&failure.hint(to))),
        _ => line,
    }
}

/// For machines: one object.
fn for_machines(tried: &Tried) -> Value {
    let ended = &tried.ended;
    let status = tried.result.as_ref().map_or_else(|failure| failure.status(), |status| Some(*status));
    json!({
        "at": format!("{:.3}", tried.at),
        "job_id": ended.job_id,
        "kind": ended.kind,
        "status": ended.status,
        "delivery_id": ended.delivery_id,
        "bytes": ended.bytes,
        "try": tried.number,
        "answered": status.map(|status| status.as_u16()),
        "took_ms": u64::try_from(tried.took.as_millis()).unwrap_or(u64::MAX),
        "error": tried.result.as_ref().err().map(ToString::to_string),
        "tried_again": tried.is_tried_again(),
    })
}

/// What was passed on, in numbers.
#[derive(Default)]
struct Tally {
    is_connected: bool,
    begun: u64,
    passed_on: u64,
    left: u64,
}

impl Tally {
    fn take(&mut self, news: &News) {
        match news {
            News::Connected { .. } => self.is_connected = true,
            News::Lost { .. } => {}
            News::Begun => self.begun += 1,
            News::Tried(tried) if tried.result.is_ok() => self.passed_on += 1,
            News::Tried(tried) => self.left += u64::from(!tried.is_tried_again()),
        }
    }

    fn summary(&self) -> String {
        let mut text = format!("{} passed on", count(self.passed_on, "callback"));
        let under_way = self.begun - self.passed_on - self.left;
        for (number, what) in [(self.left, "given up"), (under_way, "under way")] {
            if number > 0 {
                text.push_str(&format!(", {number} {what}"));
            }
        }
        text + "."
    }
}
