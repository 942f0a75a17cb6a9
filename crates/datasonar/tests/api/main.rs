//! The API over real HTTP, with a real store on disk, pages from the demonstration's site and webhooks to its endpoint.
//!
//! Each file is a part of the contract. [`server`] starts a server of its own for a test; when a test is done with it, it
//! checks that nothing is owed any more.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking, and are their own documentation")]

mod access;
mod admin;
mod bodies;
mod commands;
mod crawls;
mod credentials;
mod dashboard;
mod description;
mod documents;
mod files;
#[path = "../support/generated.rs"]
mod generated;
mod hostile;
mod hostile_pages;
mod isolation;
mod jobs;
mod listening;
mod members;
mod operation;
mod outage;
mod payloads;
#[path = "../../../datasonar-extract/tests/pdfs/mod.rs"]
mod pdfs;
mod people;
mod plans;
mod replays;
mod restart;
mod retention;
#[path = "../support/s3.rs"]
#[expect(dead_code, reason = "the tests of blobs use the rest")]
mod s3;
mod schedules;
#[expect(dead_code, reason = "the tests of rendering use the rest")]
mod server;
mod sitemaps;
mod verify;
mod waiting;
mod webhooks;
mod wrong;
