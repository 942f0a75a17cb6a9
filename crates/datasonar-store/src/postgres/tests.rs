//! The suite on PostgreSQL, and what is PostgreSQL's alone.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::conformance::Fixture;

/// A database of its own for each check.
async fn database() -> Fixture {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let server = std::env::var("TEST_POSTGRES").expect("scripts/test starts a server");
    let name = format!("test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let create = format!("CREATE DATABASE {name}");
    let url = format!("{server}/{name}");
    let admin = format!("{server}/postgres");
    group::on(Threading::Pool, move || {
        let mut client = postgres::Client::connect(&admin, postgres::NoTls).unwrap();
        client.batch_execute(&create).unwrap();
    })
    .await
    .unwrap();
    let store = PostgresStore::open(Connector::new(&url, None).unwrap()).await.unwrap();
    Fixture { store, keep: Box::new(()) }
}

mod suite {
    use super::database;
    crate::conformance!(database);
}
