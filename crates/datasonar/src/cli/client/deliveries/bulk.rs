//! Sends all deliveries again that a filter finds: counts them, asks, starts, and follows.

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use anyhow::{Result, bail};
use clap::Args;
use http::Method;
use indicatif::HumanCount;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Style, report, text};
use crate::{
    cli::{
        client::api::{Api, ApiError},
        paint::bar,
        say, say_error,
    },
    clock::{Clock, SystemClock},
};

const REPLAY: &str = "/v1/deliveries/replay";

/// Which deliveries.
#[derive(Args, Debug)]
pub(super) struct Filter {
    /// Those that stand there [default: failed]
    #[arg(long, requires = "all", value_parser = ["failed", "delivered", "pending", "any"])]
    status: Option<String>,
    /// Those created then or later, such as 2026-11-23T12:00:00Z, or 2h for two hours ago
    #[arg(long, requires = "all", value_name = "T", value_parser = moment)]
    since: Option<Timestamp>,
    /// Those created before then
    #[arg(long, requires = "all", value_name = "T", value_parser = moment)]
    until: Option<Timestamp>,
    /// Those to exactly this endpoint
    #[arg(long, requires = "all", value_name = "U")]
    webhook_url: Option<String>,
}

/// What is to be done with them.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    /// Only count them.
    pub(super) dry_run: bool,
    /// Do not ask.
    pub(super) yes: bool,
    /// Do not follow.
    pub(super) no_wait: bool,
}

impl Filter {
    fn status(&self) -> &str {
        self.status.as_deref().unwrap_or("failed")
    }

    /// The members of a request that say so.
    fn members(&self) -> Map<String, Value> {
        let mut members = Map::from_iter([("status".to_owned(), json!(self.status()))]);
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
        let given =
            [("since", time(self.since)), ("until", time(self.until)), ("webhook_url", self.webhook_url.clone())];
        for (name, value) in given {
            if let Some(value) = value {
                members.insert(name.to_owned(), json!(value));
            }
        }
        members
    }

    /// So many of them, in words.
    fn counted(&self, count: u64) -> String {
        let status = match self.status() {
            "any" => String::new(),
            status => format!("{status} "),
        };
        format!("{} {status}{}", HumanCount(count), if count == 1 { "delivery" } else { "deliveries" })
    }
}

/// A time, or how long ago it was.
fn moment(text: &str) -> Result<Timestamp, String> {
    moment_at(text, SystemClock.now())
}

fn moment_at(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let ago = humantime::parse_duration(text).ok().and_then(|ago| now.checked_sub(ago).ok());
    ago.ok_or_else(|| "a time is like 2026-11-23T12:00:00Z, or 2h for two hours ago".to_owned())
}

/// Where a bulk replay is.
pub(super) fn path(id: &str) -> String {
    format!("/v1/deliveries/replays/{id}")
}

pub(super) async fn run(api: &Api, filter: &Filter, how: How, style: Style) -> Result<ExitCode> {
    let mut request = Value::Object(filter.members());
    request["dry_run"] = json!(true);
    let counted = api.json(Method::POST, REPLAY, Some(&request)).await?;
    let count = counted["count"].as_u64().ok_or_else(|| ApiError::Unexpected("there is no count".to_owned()))?;
    let what = filter.counted(count);
    if how.dry_run {
        style.print(&counted, || format!("{what} would be sent again"))?;
        return Ok(ExitCode::SUCCESS);
    }
    if count == 0 {
        style.print(&counted, || format!("{what}: there is nothing to send again"))?;
        return Ok(ExitCode::SUCCESS);
    }
    if how.yes {
        say_error(&format!("sending {what} again"));
    } else if !is_agreed(&what)? {
        say_error("Nothing was sent.");
        return Ok(ExitCode::FAILURE);
    }
    request["dry_run"] = json!(false);
    let started = api.json(Method::POST, REPLAY, Some(&request)).await?;
    let id = text(&started["replay_id"]);
    if style.as_json {
        say(&started.to_string());
    }
    if how.no_wait {
        if !style.as_json {
            say(id);
        }
        return Ok(ExitCode::SUCCESS);
    }
    say_error(&format!("bulk replay {id}; `datasonar deliveries cancel-replay {id}` stops it"));
    let replay = follow(api, id).await?;
    say(&if style.as_json { replay.to_string() } else { report::end_of_replay(&replay) });
    let is_whole = replay["status"] == "completed" && replay["progress"]["replayed"] == replay["progress"]["total"];
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Asks at the terminal.
fn is_agreed(what: &str) -> Result<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        bail!(
            "{what} would be sent again, and there is no terminal to ask at\n  --yes sends without asking, --dry-run only \
             counts."
        );
    }
    let mut asking = io::stderr().lock();
    write!(asking, "Send {what} again? [y/N] ")?;
    asking.flush()?;
    drop(asking);
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(is_yes(&answer))
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

async fn follow(api: &Api, id: &str) -> Result<Value, ApiError> {
    let bar = bar("  {bar:32.cyan/dim} {pos}/{len} deliveries  {per_sec}  {eta} left  {msg}", 0);
    let has_ended = async |replay: &Value| {
        let count = |name: &str| replay["progress"][name].as_u64().unwrap_or(0);
        bar.set_length(count("total"));
        bar.set_position(count("replayed"));
        bar.set_message("");
        replay["completed_at"].is_string()
    };
    api.until(&path(id), &bar, has_ended).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Filter = Filter { status: None, since: None, until: None, webhook_url: None };

    #[test]
    fn what_is_not_said_is_about_dead_letters() {
        assert_eq!(Value::from(NONE.members()), json!({"status": "failed"}));
        assert_eq!(NONE.counted(1), "1 failed delivery");
        let filter = Filter {
            status: Some("any".to_owned()),
            since: Some("2026-11-23T12:00:00Z".parse().unwrap()),
            until: Some("2026-11-23T13:00:00.5Z".parse().unwrap()),
            webhook_url: Some("https://a.example/hook".to_owned()),
        };
        let all = json!({
            "status": "any", "since": "2026-11-23T12:00:00Z", "until": "2026-11-23T13:00:00.5Z",
            "webhook_url": "https://a.example/hook",
        });
        assert_eq!(Value::from(filter.members()), all);
        assert_eq!(filter.counted(12_345), "12,345 deliveries");
    }

    #[test]
    fn a_time_may_be_said_as_how_long_ago_it_was() {
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let at = |text| moment_at(text, now).map(|time| time.to_string());
        assert_eq!(at("2026-11-20T01:02:03+01:00").unwrap(), "2026-11-20T00:02:03Z");
        assert_eq!(at("2h").unwrap(), "2026-11-23T10:00:00Z");
        for wrong in ["yesterday", "", "2026-11-23", "99999999999y"] {
            let error = at(wrong).unwrap_err();
            assert!(error.contains("2026-11-23T12:00:00Z"), "{error}");
        }
    }

    #[test]
    fn only_a_yes_is_one() {
        assert!(is_yes("y\n") && is_yes(" Yes\r\n"));
        for other in ["", "\n", "n\n", "yep\n"] {
            assert!(!is_yes(other), "{other:?}");
        }
    }
}
