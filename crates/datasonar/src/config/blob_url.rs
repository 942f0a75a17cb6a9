//! Where blobs are: `BLOB_URL`, and the `AWS_*` variables that go with it.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use url::Url;

/// A place for blobs, as `BLOB_URL` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobUrl {
    /// A directory of this machine, or one that it has mounted.
    Directory(PathBuf),
    /// A bucket of an S3-compatible storage.
    S3 {
        /// Its name.
        bucket: String,
        /// What every key begins with, without slashes at its ends; may be empty.
        prefix: String,
    },
}

/// The variables of the environment that begin with `AWS_`: the ones that other tools for S3 read, too.
#[derive(Clone, Default)]
pub struct AwsVariables(BTreeMap<String, String>);

impl AwsVariables {
    /// Keeps a variable if it is one of these and says something.
    pub(super) fn offer(&mut self, name: &str, value: &str) {
        if name.starts_with("AWS_") && !value.trim().is_empty() {
            self.0.insert(name.to_owned(), value.trim().to_owned());
        }
    }

    /// The value of the first of these variables that is set.
    pub fn first(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.0.get(*name)).map(String::as_str)
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for AwsVariables {
    fn from_iter<T: IntoIterator<Item = (&'a str, &'a str)>>(variables: T) -> Self {
        let mut all = Self::default();
        variables.into_iter().for_each(|(name, value)| all.offer(name, value));
        all
    }
}

impl fmt::Debug for AwsVariables {
    /// Names them: their values are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl BlobUrl {
    /// Reads `s3://bucket/prefix` or `file:///…`; the error says what is wrong with it, and never repeats it: a password
    /// may have been written into it.
    ///
    /// # Errors
    /// A sentence about what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("s3://") {
            return s3(rest);
        }
        if text.starts_with("file:") {
            let path = Url::parse(text).ok().and_then(|url| url.to_file_path().ok());
            return match path {
                Some(path) if text.starts_with("file:///") => Ok(Self::Directory(path)),
                _ => Err("a directory is written with three slashes and its whole path: file:///srv/blobs".to_owned()),
            };
        }
        Err("it must begin with s3:// (s3://bucket/prefix) or file:/// (file:///srv/blobs)".to_owned())
    }
}

impl fmt::Display for BlobUrl {
    /// As `BLOB_URL` is written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => match Url::from_file_path(path) {
                Ok(url) => write!(f, "{url}"),
                Err(()) => write!(f, "file://{}", path.display()),
            },
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

fn s3(rest: &str) -> Result<BlobUrl, String> {
    if rest.contains('@') {
        return Err(
            "credentials do not belong into it: give them as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY".into()
        );
    }
    if rest.contains(['?', '#']) {
        return Err("it ends with the prefix: what else there is to say, AWS_* variables say \
                    (AWS_ENDPOINT_URL, AWS_REGION)"
            .to_owned());
    }
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err("it names no bucket: write s3://bucket or s3://bucket/prefix".to_owned());
    }
    let is_plain = |next: char| next.is_ascii_alphanumeric() || matches!(next, '.' | '-' | '_' | '=');
    if !(3..=255).contains(&bucket.len()) || !bucket.chars().all(is_plain) || bucket.contains('=') {
        return Err(
            "its bucket is not one: a name has at least three letters, digits, dots and hyphens; a server's address \
                    goes into AWS_ENDPOINT_URL"
                .to_owned(),
        );
    }
    let prefix = prefix.trim_matches('/');
    let is_sound = |part: &str| !matches!(part, "" | "." | "..") && part.chars().all(is_plain);
    if prefix.len() > 512 || !(prefix.is_empty() || prefix.split('/').all(is_sound)) {
        return Err(
            "its prefix may have letters, digits, dots, hyphens, `_` and `=`, parted by single slashes".to_owned()
        );
    }
    Ok(BlobUrl::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        let s3 = |bucket: &str, prefix: &str| BlobUrl::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() };
        for (text, expected) in [
            ("s3://blobs", s3("blobs", "")),
            ("s3://blobs/", s3("blobs", "")),
            ("s3://my.blobs/a/b_c=d/", s3("my.blobs", "a/b_c=d")),
            ("file:///srv/my%20blobs", BlobUrl::Directory("/srv/my blobs".into())),
        ] {
            assert_eq!(BlobUrl::parse(text).unwrap(), expected, "{text}");
            assert_eq!(expected.to_string(), text.trim_end_matches('/'));
        }
    }

    #[test]
    fn what_names_no_place_is_refused_with_the_next_step() {
        for (text, expected) in [
            ("s3://", "names no bucket"),
            ("s3:///prefix", "names no bucket"),
            ("s3://minio:9000/blobs", "AWS_ENDPOINT_URL"),
            ("s3://blobs?region=eu", "AWS_REGION"),
            ("s3://blobs/a//b", "single slashes"),
            ("s3://blobs/../other", "single slashes"),
            ("file://srv/blobs", "three slashes"),
            ("file:blobs", "three slashes"),
            ("/srv/blobs", "must begin with"),
            ("gs://blobs", "must begin with"),
        ] {
            let error = BlobUrl::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let error = BlobUrl::parse("s3://AKIA:hunter2@blobs/x").unwrap_err();
        assert!(error.contains("AWS_SECRET_ACCESS_KEY") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn variables_do_not_show_their_values() {
        let variables = AwsVariables::from_iter([
            ("AWS_SECRET_ACCESS_KEY", "hunter2"),
            ("AWS_REGION", " "),
            ("PATH", "/bin"),
            ("AWS_DEFAULT_REGION", "eu-west-1"),
        ]);
        assert_eq!(format!("{variables:?}"), r#"{"AWS_DEFAULT_REGION", "AWS_SECRET_ACCESS_KEY"}"#);
        assert_eq!(variables.first(&["AWS_REGION", "AWS_DEFAULT_REGION"]), Some("eu-west-1"));
    }
}
