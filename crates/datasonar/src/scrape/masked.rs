//! What is shown instead of credentials.

use url::Url;

/// Stands for a header's value that is not shown. No header can have this value, because it is not ASCII.
pub const MASK: &str = "••••••••";

/// Stands for the user name and password in a URL.
const MASKED_USER: &str = "***";

/// Returns a URL with its user name and password masked; any other text as it is.
pub fn shown_url(text: &str) -> String {
    match Url::parse(text) {
        Ok(mut url) if !url.username().is_empty() || url.password().is_some() => {
            // Neither fails on a URL that has credentials.
            let _ = url.set_username(MASKED_USER);
            let _ = url.set_password(None);
            url.into()
        }
        _ => text.to_owned(),
    }
}

/// Tells whether a URL is one that [`shown_url`] has masked.
pub fn is_masked_url(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| url.username() == MASKED_USER && url.password().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_urls_are_masked() {
        assert_eq!(shown_url("https://me:pass@x.example/a?b"), "https://***@x.example/a?b");
        assert_eq!(shown_url("https://x.example/a?b=me:pass@c"), "https://x.example/a?b=me:pass@c");
        assert_eq!(shown_url("nonsense"), "nonsense");
        assert!(is_masked_url("https://***@x.example/") && !is_masked_url("https://x.example/"));
    }
}
