//! Keys of endpoints: what deliveries are queued and kept apart by.
//!
//! Many customers of one service share a host name, so a host is too coarse. An endpoint is an account, an environment and
//! a URL without its query. The first two stand in the key as they are, so that no URL of one tenant can be mistaken for
//! another's; the URL is hashed, which bounds the key's length for the index.

use std::fmt::Write;

use ring::digest;

use crate::{Environment, Scope};

/// The characters of a key that name the account and the environment.
pub(crate) const SCOPE_CHARS: usize = 33;
/// Bytes of the URL's hash in a key. A collision needs two URLs of one tenant, and makes them share a lane.
const HASH_BYTES: usize = 16;

/// Returns the key of an endpoint: 65 characters, hexadecimal digits apart from the environment's letter.
pub fn key(scope: Scope, url: &str) -> String {
    let endpoint = &url[..url.find(['?', '#']).unwrap_or(url.len())];
    let environment = match scope.environment {
        Environment::Production => 'p',
        Environment::Sandbox => 's',
    };
    let mut key = format!("{}{environment}", scope.account.0.simple());
    for byte in &digest::digest(&digest::SHA256, endpoint.as_bytes()).as_ref()[..HASH_BYTES] {
        write!(key, "{byte:02x}").expect("a string can be written");
    }
    key
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::AccountId;

    #[test]
    fn a_key_tells_account_environment_and_path_apart_but_not_queries() {
        let scope = |account, environment| Scope { account: AccountId(Uuid::from_u128(account)), environment };
        let production = scope(1, Environment::Production);
        let own = key(production, "https://hooks.example/a");
        assert_eq!(own.len(), 65);
        assert!(own.is_ascii() && own[..SCOPE_CHARS].ends_with('p'), "{own}");
        for same in ["https://hooks.example/a?b=c", "https://hooks.example/a#b", "https://hooks.example/a?"] {
            assert_eq!(key(production, same), own, "{same}");
        }
        let others = [
            key(production, "https://hooks.example/a/"),
            key(production, "https://hooks.example/b"),
            key(production, "https://other.example/a"),
            key(scope(1, Environment::Sandbox), "https://hooks.example/a"),
            key(scope(2, Environment::Production), "https://hooks.example/a"),
        ];
        assert!(!others.contains(&own), "{others:?}");
    }
}
