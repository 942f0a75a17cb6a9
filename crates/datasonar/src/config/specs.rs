//! The table of settings.

/// A setting.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Its name in a file; `-` for `_` as a flag; upper case after `DATASONAR_` in the environment.
    pub name: &'static str,
    /// Its default, as it would be written; empty where there is none.
    pub default: &'static str,
    /// What it means.
    pub help: &'static str,
}

const fn spec(name: &'static str, default: &'static str, help: &'static str) -> Spec {
    Spec { name, default, help }
}

impl Spec {
    /// Its spelling as a flag, without the dashes in front.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// Its spelling in the environment.
    pub fn variable(&self) -> String {
        if self.name == "rust_log" { "RUST_LOG".to_owned() } else { format!("DATASONAR_{}", self.name.to_uppercase()) }
    }
}

/// All settings.
pub const SPECS: &[Spec] = &[
    spec("listen", "127.0.0.1:8080", "Address of the API"),
    spec("public_url", "", "Address under which clients reach it, used in links [default: from --listen]"),
    spec(
        "trusted_proxies",
        "",
        "CIDRs of load balancers whose X-Forwarded-For or Forwarded names the client, such as 10.0.0.0/8 [default: none]",
    ),
    spec(
        "max_connections",
        "",
        "Open client connections, above which new ones get 503; one network may have an eighth of them [default: half of the open files allowed, or all but 8192; at most 20000]",
    ),
    spec("data_dir", "./datasonar-data", "The embedded store: database and blobs"),
    spec(
        "database_url",
        "",
        "postgres://… to share one store between machines [default: SQLite in the data directory]",
    ),
    spec("blob_url", "", "s3://bucket/prefix or file:///… [default: blobs in the data directory]"),
    spec("roles", "api,worker,dispatcher,scheduler", "What this process does"),
    spec(
        "encryption_key",
        "",
        "64 hex digits that encrypt webhook secrets at rest [default: made once, kept in the data directory]",
    ),
    spec(
        "allow_private_networks",
        "",
        "CIDRs that may be fetched from and delivered to although private, such as 10.0.0.0/8,::1/128",
    ),
    spec("fetch_concurrency", "256", "Pages in flight in this process"),
    spec("fetch_per_host_concurrency", "8", "Pages in flight at one host"),
    spec("fetch_per_host_delay", "0ms", "Least gap between two requests to one host"),
    spec("fetch_timeout", "30s", "For one page"),
    spec("fetch_max_bytes", "10MiB", "The longest body of a page, decompressed"),
    spec(
        "extract_memory",
        "",
        "The memory that pages may take together while their content is extracted [default: a fifth of the process's]",
    ),
    spec("result_max_bytes", "32MiB", "The longest result of a page, as JSON"),
    spec("fetch_retries", "2", "Further tries after a transient failure"),
    spec(
        "crawl_max_sitemaps",
        "50",
        "The most sitemaps that a crawl or a map reads; each counts as a page of the plan",
    ),
    spec("fetch_user_agent", concat!("Datasonar/", env!("CARGO_PKG_VERSION")), "How pages see us"),
    spec(
        "render_browser",
        "",
        "The browser that pages are rendered with [default: the first Chromium or Chrome on the PATH]",
    ),
    spec("render_concurrency", "2", "Pages rendered at a time in this process"),
    spec("render_memory", "512MiB", "The memory that a page may take while it is rendered"),
    spec("render_user", "nobody", "Whom the browser runs as, by name or number, where the server runs as root"),
    spec("render_sandbox", "on", "The browser's own sandbox: on, or off where the system has no user namespaces"),
    spec("webhook_timeout", "30s", "For an endpoint to answer, from the last byte of the body on"),
    spec("webhook_retry_schedule", "30s,2m,10m,1h,6h,24h", "Offsets of the retries from the first attempt"),
    spec("webhook_max_attempts", "7", "How many attempts the schedule makes; 5 drops the late ones"),
    spec("webhook_ca_file", "", "Extra PEM roots for endpoints with a private CA"),
    spec("result_retention", "7d", "After which results are deleted"),
    spec("log_retention", "30d", "After which deliveries and their attempts are deleted"),
    spec(
        "plan_free_pages_per_month",
        "1000",
        "Pages that an account of the plan free may ask for in a month, or unlimited",
    ),
    spec("plan_free_requests_per_minute", "60", "Its calls of the API in a minute, or unlimited"),
    spec("plan_free_concurrent_jobs", "2", "Its jobs that may be open at once, or unlimited"),
    spec("plan_free_result_retention", "1d", "After which its results are deleted"),
    spec(
        "plan_starter_pages_per_month",
        "25000",
        "Pages that an account of the plan starter may ask for in a month, or unlimited",
    ),
    spec("plan_starter_requests_per_minute", "120", "Its calls of the API in a minute, or unlimited"),
    spec("plan_starter_concurrent_jobs", "5", "Its jobs that may be open at once, or unlimited"),
    spec("plan_starter_result_retention", "3d", "After which its results are deleted"),
    spec(
        "plan_pro_pages_per_month",
        "250000",
        "Pages that an account of the plan pro may ask for in a month, or unlimited",
    ),
    spec("plan_pro_requests_per_minute", "300", "Its calls of the API in a minute, or unlimited"),
    spec("plan_pro_concurrent_jobs", "20", "Its jobs that may be open at once, or unlimited"),
    spec("plan_pro_result_retention", "7d", "After which its results are deleted"),
    spec(
        "plan_business_pages_per_month",
        "2500000",
        "Pages that an account of the plan business may ask for in a month, or unlimited",
    ),
    spec("plan_business_requests_per_minute", "1000", "Its calls of the API in a minute, or unlimited"),
    spec("plan_business_concurrent_jobs", "100", "Its jobs that may be open at once, or unlimited"),
    spec("plan_business_result_retention", "14d", "After which its results are deleted"),
    spec(
        "plan_enterprise_pages_per_month",
        "unlimited",
        "Pages that an account of the plan enterprise may ask for in a month, or unlimited",
    ),
    spec("plan_enterprise_requests_per_minute", "5000", "Its calls of the API in a minute, or unlimited"),
    spec("plan_enterprise_concurrent_jobs", "1000", "Its jobs that may be open at once, or unlimited"),
    spec("plan_enterprise_result_retention", "30d", "After which its results are deleted"),
    spec("session_lifetime", "14d", "After which one has to sign in to the dashboard again"),
    spec("session_idle", "12h", "The same, for a browser that did nothing for so long"),
    spec("max_request_bytes", "256MiB", "The longest request body, decompressed"),
    spec("log_format", "text", "text or json"),
    spec("rust_log", "info", "Which logs are written, in the syntax of tracing's EnvFilter"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_of_settings() {
        let rows: Vec<String> = SPECS
            .iter()
            .map(|spec| format!("--{} | {} | {} | {}", spec.flag(), spec.variable(), spec.default, spec.help))
            .collect();
        insta::assert_snapshot!(rows.join("\n"));
    }
}
