//! stub
#![allow(missing_docs)]
use std::{net::SocketAddr, path::PathBuf, time::Duration};
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role { Api, Worker, Dispatcher, Scheduler }
pub struct Settings {
    pub listen: SocketAddr, pub data_dir: PathBuf, pub roles: Vec<Role>, pub encryption_key: String,
    pub allow_private_networks: Vec<ipnet::IpNet>, pub fetch_concurrency: usize, pub fetch_per_host_concurrency: usize,
    pub fetch_per_host_delay: Duration, pub fetch_timeout: Duration, pub fetch_max_bytes: u64, pub fetch_retries: u32,
    pub fetch_user_agent: String, pub webhook_timeout: Duration, pub webhook_retry_schedule: Vec<Duration>, pub webhook_max_attempts: u32,
    pub webhook_ca_file: Option<PathBuf>, pub result_retention: Duration, pub log_retention: Duration, pub max_request_bytes: u64,
}
