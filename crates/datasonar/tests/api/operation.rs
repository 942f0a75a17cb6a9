//! What probes ask, and what a process answers that does not serve the API.

use std::{net::TcpListener, process::Output};

use tokio::process::Command;

use super::server::Setup;

async fn health(server: &str, flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_datasonar"));
    command.arg("health").args(flags).env("DATASONAR_SERVER", server).output().await.unwrap()
}

#[tokio::test]
async fn a_process_without_the_role_api_answers_operators_only() {
    let server = Setup::new().flag("roles", "worker,dispatcher,scheduler").start().await;
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    for path in ["/v1/me", "/v1/jobs", "/v1/webhooks/secrets", "/openapi.json", "/"] {
        server.get(path).await.is(404);
    }
    for flags in [&[][..], &["--live"]] {
        let ran = health(&server.url, flags).await;
        assert!(ran.status.success() && ran.stdout.is_empty(), "{ran:?}");
    }
    server.finish().await;
}

#[tokio::test]
async fn a_server_that_is_not_there_or_says_nothing_is_not_healthy() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let ran = health(&url, &["--live", "--within", "1"]).await;
    assert_eq!(ran.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("has not answered within 1s"), "{ran:?}");
    drop(silent);
    let ran = health(&url, &[]).await;
    assert_eq!(ran.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("nothing listens there"), "{ran:?}");
}
