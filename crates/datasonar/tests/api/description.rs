//! What the API says of itself, and what operators look at.

use http::Method;
use serde_json::{Value, json};

use super::server::{Call, Server, site};

const NOBODY: &str = "0192f0c1-2345-7abc-8def-0123456789ab";

#[tokio::test]
async fn the_description() {
    let server = Server::start().await;
    let answer = server.send(Call::new(Method::GET, "/openapi.json").header("authorization", "")).await;
    let mut document = answer.is(200);
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    document["info"]["version"] = json!("[version]");
    insta::assert_json_snapshot!(document);
    server.finish().await;
}

#[tokio::test]
async fn what_is_described_is_there() {
    let server = Server::start().await;
    let document = server.get("/openapi.json").await.is(200);
    let mut count = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Ok(method) = method.to_uppercase().parse::<Method>() else { continue };
            if !["GET", "POST", "DELETE", "PATCH", "PUT"].contains(&method.as_str()) {
                continue;
            }
            count += 1;
            // A stream without an end is asked for a place that there is not.
            let path = &path.replace("{id}", NOBODY).replace("/listen", "/listen?after=nowhere");
            let answer = server.send(Call::new(method.clone(), path)).await;
            assert_ne!(answer.status.as_u16(), 405, "{method} {path}");
            let is_nowhere =
                answer.status.as_u16() == 404 && answer.json()["detail"].as_str().unwrap().contains("nothing at");
            assert!(!is_nowhere, "{method} {path}");
            // What it answers is described too.
            let responses = &operation["responses"];
            let is_described = responses.get(answer.status.as_str()).is_some() || responses.get("default").is_some();
            assert!(is_described, "{method} {path} answers {}", answer.status);
            // Only what operators look at needs no key.
            let open = server.send(Call::new(method.clone(), path).header("authorization", "")).await;
            let needs_none = operation.get("security").is_some_and(|security| *security != document["security"]);
            assert_eq!(open.status.as_u16() != 401, needs_none, "{method} {path}");
        }
    }
    assert!(count >= 14, "{count}");
    server.finish().await;
}

#[tokio::test]
async fn references_within_the_description_lead_somewhere() {
    let server = Server::start().await;
    let document = server.get("/openapi.json").await.is(200);
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    server.finish().await;
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            references.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|value| collect(value, references));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, references)),
        _ => {}
    }
}

#[tokio::test]
async fn operators_need_no_key() {
    let (server, site) = (Server::start().await, site(3).await);
    let job = server.queue("/v1/scrape/batch/async", &json!({"urls": site.urls().collect::<Vec<_>>()})).await;
    server.ended(&job).await;
    for (path, text) in [
        ("/healthz", "ok"),
        ("/readyz", "ready"),
        ("/metrics", "datasonar_jobs_open 0"),
        ("/metrics", "datasonar_tasks_pending 0"),
        ("/metrics", "datasonar_deliveries_pending 0"),
        ("/metrics", r#"datasonar_http_requests_total{method="POST",route="/v1/scrape/batch/async",status="202"}"#),
    ] {
        let answer = server.send(Call::new(Method::GET, path).header("authorization", "")).await;
        assert_eq!(answer.status.as_u16(), 200, "{path}");
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        // Other tests' servers count into the same gauges: their names are there, whatever their values.
        let wanted = text.strip_suffix(" 0").unwrap_or(text);
        assert!(body.contains(wanted), "{path} does not say {wanted}");
        assert!(!body.contains("osk_") && !body.contains(&job));
    }
    server.finish().await;
}
