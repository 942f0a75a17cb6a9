//! Datasonar: fire jobs, get a clean callback.
//!
//! Modules point one way: `config clock crypto blobs wake` → `fetch render plans` → `crawl scrape` → `jobs mapper people` → `webhook schedules` →
//! `roles | api | dashboard` → `serve` → `cli`. ARCHITECTURE.md walks a job through them.

pub mod api;
pub mod app;
pub mod blobs;
pub mod cli;
pub mod clock;
pub mod config;
pub mod cpu;
pub mod crawl;
pub mod crypto;
pub mod dashboard;
pub mod fetch;
pub mod files;
pub mod jobs;
pub mod key_uses;
pub mod mapper;
pub mod people;
pub mod plans;
pub mod render;
pub mod roles;
pub mod schedules;
pub mod scrape;
pub mod serve;
pub mod telemetry;
pub mod wake;
pub mod webhook;
