//! A bucket on an S3-compatible storage: how it is reached, and whether it can be used.
//!
//! The variables are the ones that other tools read. Given an endpoint, the bucket is a part of the path, as MinIO, Ceph
//! and most others want it; on AWS it is a part of the host name.

use std::{path::PathBuf, sync::Arc, time::Duration};

use datasonar_net::{AddressPolicy, Client, ClientError, ClientOptions};
use object_store::{
    BackoffConfig, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey},
    path::Path,
};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use url::Url;
use uuid::Uuid;

use super::{Blobs, http, list::Listing};
use crate::config::AwsVariables;

/// How many connections are kept open.
const IDLE_CONNECTIONS: usize = 64;

const ACCESS_KEY: &str = "AWS_ACCESS_KEY_ID";
const SECRET_KEY: &str = "AWS_SECRET_ACCESS_KEY";
const ENDPOINTS: &[&str] = &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
const REGIONS: &[&str] = &["AWS_REGION", "AWS_DEFAULT_REGION"];
const VIRTUAL_HOSTED: &str = "AWS_VIRTUAL_HOSTED_STYLE_REQUEST";
/// Further variables, whose meaning is the client library's.
const OTHERS: &[&str] = &[
    "AWS_SESSION_TOKEN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_ENDPOINT_URL_STS",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_METADATA_ENDPOINT",
    "AWS_IMDSV1_FALLBACK",
    "AWS_SKIP_SIGNATURE",
    "AWS_DISABLE_BULK_DELETE",
    "AWS_REQUEST_PAYER",
    "AWS_SERVER_SIDE_ENCRYPTION",
    "AWS_SSE_KMS_KEY_ID",
    "AWS_SSE_BUCKET_KEY_ENABLED",
];

/// Which bucket, and how it is reached.
#[derive(Clone, Debug)]
pub struct S3Options {
    /// The bucket's name.
    pub bucket: String,
    /// What every key begins with; may be empty.
    pub prefix: String,
    /// Credentials, region, endpoint.
    pub variables: AwsVariables,
    /// How long it is borne with.
    pub patience: Patience,
}

/// Why a bucket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum S3Error {
    /// A variable is wrong or missing.
    #[error("{variable} {reason}")]
    Variable {
        /// Its name.
        variable: &'static str,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The variables do not go together.
    #[error("the AWS_* variables cannot be used: {0}")]
    Variables(#[source] object_store::Error),
    /// No HTTP client can be made.
    #[error("AWS_CA_BUNDLE: {0}")]
    Client(#[from] ClientError),
    /// The bucket does not do what it must.
    #[error("the blob storage at {place} cannot be used, it does not let us {step}: {reason}\n{advice}")]
    Unusable {
        /// The bucket, its prefix, its endpoint.
        place: String,
        /// What failed: `write`, `read`, `list` or `delete`.
        step: &'static str,
        /// Why, in the storage's words.
        reason: String,
        /// What to do.
        advice: &'static str,
    },
}

/// How long a storage that does not do what it should is borne with.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For one exchange, from the first byte sent to the last received: a part of 5 MiB must fit in.
    pub exchange: Duration,
    /// For trying again: after that nothing is begun any more.
    pub retry: Duration,
    /// For the check at the start, in all.
    pub check: Duration,
}

impl Default for Patience {
    /// What servers have: whatever fails does so after 80 seconds at most.
    fn default() -> Self {
        let [exchange, retry, check] = [30, 45, 15].map(Duration::from_secs);
        Self { exchange, retry, check }
    }
}

impl Patience {
    pub(super) fn retries(self) -> RetryConfig {
        let backoff =
            BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(5), base: 2.0 };
        RetryConfig { backoff, max_retries: 30, retry_timeout: self.retry }
    }
}

impl S3Options {
    /// Checks that the bucket can be written to, read, listed and deleted from, within some seconds. `id` names the object
    /// that this is tried with.
    ///
    /// # Errors
    /// What it does not let us do, why, and what to change.
    pub async fn check(&self, id: Uuid) -> Result<(), S3Error> {
        let within = self.patience.check;
        // Few tries, so that the reason is known before the time is over.
        let retries = RetryConfig { max_retries: 3, retry_timeout: within / 3, ..self.patience.retries() };
        let bucket = Arc::new(self.build(retries)?);
        let blobs = Blobs { store: bucket.clone(), listing: Listing::Pages(bucket), prefix: self.prefix() };
        let (step, error) = match tokio::time::timeout(within, blobs.probe(id)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err((step, error))) => (step, Some(error)),
            Err(_) => ("write", None),
        };
        let reason = match &error {
            Some(error) => error.to_string(),
            None => format!("it did not answer within {within:?}"),
        };
        Err(S3Error::Unusable { place: self.place(), step, reason, advice: self.advice(error.as_ref()) })
    }

    /// What to change when the bucket failed with an error, or did not answer.
    fn advice(&self, error: Option<&object_store::Error>) -> &'static str {
        use object_store::Error::{NotFound, PermissionDenied, Unauthenticated};
        let has_keys = self.variables.first(&[ACCESS_KEY]).is_some();
        match error {
            Some(PermissionDenied { .. } | Unauthenticated { .. }) => {
                "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and that they may s3:PutObject, s3:GetObject, \
                 s3:DeleteObject, s3:AbortMultipartUpload and s3:ListBucket there."
            }
            Some(NotFound { .. }) => "Make the bucket first, and check AWS_ENDPOINT_URL and AWS_REGION.",
            _ if !has_keys => {
                "No AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are set, so that the machine's role was asked for; profiles \
                 and files below ~/.aws are not read."
            }
            _ => "Check AWS_ENDPOINT_URL and AWS_REGION, and that the storage can be reached from here.",
        }
    }

    fn place(&self) -> String {
        let at = self.variables.first(ENDPOINTS).map(|endpoint| format!(" ({endpoint})")).unwrap_or_default();
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        format!("s3://{}{slash}{}{at}", self.bucket, self.prefix)
    }

    pub(super) fn prefix(&self) -> Path {
        Path::from(self.prefix.as_str())
    }

    /// Makes the client. Opens no connection.
    pub(super) fn build(&self, retry: RetryConfig) -> Result<AmazonS3, S3Error> {
        let variables = &self.variables;
        let region = variables.first(REGIONS).unwrap_or("us-east-1");
        let mut builder = AmazonS3Builder::new()
            .with_http_connector(http::Network { client: self.client()?, exchange_within: self.patience.exchange })
            .with_retry(retry)
            .with_bucket_name(&self.bucket)
            .with_region(region);
        for name in OTHERS {
            let key = name.to_lowercase().parse::<AmazonS3ConfigKey>();
            if let (Some(value), Ok(key)) = (variables.first(&[name]), key) {
                builder = builder.with_config(key, value);
            }
        }
        let endpoint = self.endpoint()?;
        // The names of a bucket with dots and of a server do not make one that a certificate is for.
        let is_hosted = self.flag(VIRTUAL_HOSTED)?.unwrap_or(endpoint.is_none() && !self.bucket.contains('.'));
        builder = builder.with_virtual_hosted_style_request(is_hosted);
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(self.at(endpoint, is_hosted)?);
        }
        match (variables.first(&[ACCESS_KEY]), variables.first(&[SECRET_KEY])) {
            (Some(id), Some(secret)) => {
                builder = builder.with_access_key_id(id).with_secret_access_key(secret);
            }
            (Some(_), None) => return Err(wrong(SECRET_KEY, "is not set, but AWS_ACCESS_KEY_ID is: they go together")),
            (None, Some(_)) => {
                return Err(wrong(ACCESS_KEY, "is not set, but AWS_SECRET_ACCESS_KEY is: they go together"));
            }
            (None, None) => {}
        }
        builder.build().map_err(S3Error::Variables)
    }

    fn client(&self) -> Result<Client, S3Error> {
        let mut options = ClientOptions::new(AddressPolicy::unrestricted());
        options.user_agent = concat!("Datasonar/", env!("CARGO_PKG_VERSION")).to_owned();
        options.connect_timeout = http::CONNECT_WITHIN;
        options.pool_idle_per_host = IDLE_CONNECTIONS;
        if let Some(path) = self.variables.first(&["AWS_CA_BUNDLE"]) {
            let read = CertificateDer::pem_file_iter(PathBuf::from(path)).and_then(Iterator::collect);
            options.extra_roots = read.map_err(|error| {
                wrong("AWS_CA_BUNDLE", &format!("is `{path}`, which cannot be read as PEM certificates: {error}"))
            })?;
        }
        Ok(Client::new(options)?)
    }

    fn endpoint(&self) -> Result<Option<Url>, S3Error> {
        let Some((name, text)) = ENDPOINTS.iter().find_map(|name| Some((*name, self.variables.first(&[name])?))) else {
            return Ok(None);
        };
        let expected = "is not a URL such as https://s3.example.com or http://127.0.0.1:9000";
        let url = Url::parse(text).map_err(|_| wrong(name, expected))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(wrong(name, expected));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong(
                name,
                "has a password in it: credentials are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong(name, "has a `?` or `#` in it: an endpoint is a server's address"));
        }
        Ok(Some(url))
    }

    /// Where the bucket is on an endpoint, in the form that the client wants.
    fn at(&self, mut endpoint: Url, is_hosted: bool) -> Result<String, S3Error> {
        let prefix = format!("{}.", self.bucket);
        let host = endpoint.host_str().unwrap_or_default().to_owned();
        if is_hosted && !host.starts_with(&prefix) {
            let refused =
                wrong(VIRTUAL_HOSTED, "cannot be true with an AWS_ENDPOINT_URL that has an address for a name");
            if endpoint.domain().is_none() || endpoint.set_host(Some(&format!("{prefix}{host}"))).is_err() {
                return Err(refused);
            }
        }
        Ok(endpoint.as_str().trim_end_matches('/').to_owned())
    }

    fn flag(&self, name: &'static str) -> Result<Option<bool>, S3Error> {
        match self.variables.first(&[name]).map(str::to_ascii_lowercase).as_deref() {
            None => Ok(None),
            Some("true" | "1" | "yes" | "on") => Ok(Some(true)),
            Some("false" | "0" | "no" | "off") => Ok(Some(false)),
            Some(_) => Err(wrong(name, "must be true or false")),
        }
    }
}

fn wrong(variable: &'static str, reason: &str) -> S3Error {
    S3Error::Variable { variable, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options<const N: usize>(variables: [(&str, &str); N]) -> S3Options {
        let variables = AwsVariables::from_iter(variables);
        S3Options {
            bucket: "blobs".to_owned(),
            prefix: "production".to_owned(),
            variables,
            patience: Patience::default(),
        }
    }

    #[test]
    fn wrong_variables_are_named_and_not_repeated() {
        for (options, expected) in [
            (options([("AWS_ACCESS_KEY_ID", "hunter2")]), "AWS_SECRET_ACCESS_KEY is not set"),
            (options([("AWS_SECRET_ACCESS_KEY", "hunter2")]), "AWS_ACCESS_KEY_ID is not set"),
            (options([("AWS_ENDPOINT_URL", "minio:9000")]), "AWS_ENDPOINT_URL is not a URL"),
            (options([("AWS_ENDPOINT_URL_S3", "http://me:hunter2@minio")]), "AWS_ENDPOINT_URL_S3 has a password"),
            (options([("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "maybe")]), "AWS_VIRTUAL_HOSTED_STYLE_REQUEST must be"),
            (
                options([("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true"), ("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")]),
                "AWS_VIRTUAL_HOSTED_STYLE_REQUEST cannot be true",
            ),
            (options([("AWS_CA_BUNDLE", "/nowhere.pem")]), "AWS_CA_BUNDLE is `/nowhere.pem`"),
        ] {
            let error = options.build(options.patience.retries()).unwrap_err().to_string();
            assert!(error.starts_with(expected) && !error.contains("hunter2"), "{error}");
            assert!(!format!("{options:?}").contains("hunter2"));
        }
    }

    #[test]
    fn the_bucket_is_in_the_path_of_an_endpoint_unless_asked_otherwise() {
        let at = |endpoint: &str, is_hosted| options([]).at(endpoint.parse().unwrap(), is_hosted).unwrap();
        assert_eq!(at("http://minio:80/", false), "http://minio");
        assert_eq!(at("https://s3.example.com/base/", false), "https://s3.example.com/base");
        assert_eq!(at("https://s3.example.com", true), "https://blobs.s3.example.com");
        assert_eq!(at("https://blobs.s3.example.com", true), "https://blobs.s3.example.com");
    }
}
