//! Sends deliveries again by their ids, and waits for what comes of each.

use std::{collections::HashSet, process::ExitCode};

use anyhow::Result;
use http::Method;
use serde_json::Value;
use uuid::Uuid;

use super::{
    Style, Thing, advised, path,
    report::{self, attempts},
};
use crate::cli::{
    client::api::{Api, ApiError},
    paint::bar,
    say, say_error,
};

pub(super) async fn run(api: &Api, mut ids: Vec<Uuid>, no_wait: bool, style: Style) -> Result<ExitCode> {
    let mut named = HashSet::new();
    // Twice the same would be one replay, and its second wait would have no end.
    ids.retain(|id| named.insert(*id));
    let mut is_well = true;
    let mut asked = Vec::with_capacity(ids.len());
    for id in ids {
        match ask(api, id).await {
            Ok((before, delivery)) => asked.push((id, before, delivery)),
            // The others may do better.
            Err(error @ ApiError::Refused { .. }) => {
                is_well = false;
                say_error(&format!("{id}: {}", advised(error, Thing::Delivery)));
            }
            Err(error) => return Err(error.into()),
        }
    }
    for (id, before, delivery) in asked {
        let (delivery, attempt) = if no_wait {
            (delivery, None)
        } else {
            let delivery = outcome(api, id, before).await?;
            let attempt = replayed(&delivery, before).cloned();
            is_well &= attempt.as_ref().is_some_and(|attempt| attempt["error"].is_null());
            (delivery, attempt)
        };
        if style.as_json {
            say(&delivery.to_string());
            continue;
        }
        match attempt {
            None => say(&format!("{id}  is sent again")),
            Some(attempt) => {
                say(&format!("{id}  {}", report::outcome_and_latency(&attempt, style.paint)));
                if !attempt["error"].is_null() {
                    say_error(&report::failure(&attempt, &id.to_string()));
                }
            }
        }
    }
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Asks for a replay. Answers how many attempts there were before, and the delivery.
async fn ask(api: &Api, id: Uuid) -> Result<(usize, Value), ApiError> {
    let path = path(id);
    let before = attempts(&api.json(Method::GET, &path, None).await?).len();
    let delivery = api.json(Method::POST, &format!("{path}/replay"), None).await?;
    Ok((before, delivery))
}

/// Waits for the replay's attempt to end. Others may come before it.
async fn outcome(api: &Api, id: Uuid, before: usize) -> Result<Value> {
    let bar = bar("  {spinner:.cyan} waiting for the answer to {prefix}  {msg}", 0).with_prefix(id.to_string());
    let has_ended = async |delivery: &Value| {
        bar.set_message("");
        bar.tick();
        replayed(delivery, before).is_some()
    };
    api.until(&path(id), &bar, has_ended).await.map_err(|error| advised(error, Thing::Delivery))
}

/// The first replay after so many attempts.
fn replayed(delivery: &Value, before: usize) -> Option<&Value> {
    attempts(delivery).iter().skip(before).find(|attempt| attempt["trigger"] == "replay")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_replay_that_was_not_there_before_is_the_outcome() {
        let delivery = json!({"attempts": [
            {"number": 1, "trigger": "automatic"}, {"number": 2, "trigger": "replay"},
            {"number": 3, "trigger": "automatic"}, {"number": 4, "trigger": "replay"},
        ]});
        let number = |before| replayed(&delivery, before).map(|attempt| attempt["number"].clone());
        assert_eq!((number(0), number(2), number(4)), (Some(json!(2)), Some(json!(4)), None));
        assert!(replayed(&json!({}), 0).is_none());
    }
}
