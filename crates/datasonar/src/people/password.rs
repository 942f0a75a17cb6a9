//! Passwords: which ones may be, and how they are hashed.
//!
//! Argon2id with 19 MiB, two passes and one lane, as OWASP has it. A hash takes that memory and tens of milliseconds of a processor, so that a few are
//! made at once, on threads that may block, a few more wait, and who comes then is told so.

use std::sync::Arc;

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The shortest password, in characters.
pub const SHORTEST_PASSWORD: usize = 10;
/// The longest password, in characters.
pub const LONGEST_PASSWORD: usize = 200;

/// OWASP's parameters: KiB of memory, passes, lanes.
const MEMORY_KIB: u32 = 19 * 1_024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// How many are hashed at once: two take 38 MiB.
const AT_ONCE: usize = 2;
/// How many are hashed or wait.
const PLACES: usize = 64;

/// What is verified when there is no user: takes the same time, and no password fits.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$Zm9yIG5vYm9keSBhdCBhbA$bm8gcGFzc3dvcmQgaGFzIHRoaXMgaGFzaCwgc3VyZSE";

/// What is wrong with a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// It is too short.
    #[error("a password has at least {SHORTEST_PASSWORD} characters")]
    TooShort,
    /// It is too long.
    #[error("a password has at most {LONGEST_PASSWORD} characters")]
    TooLong,
    /// It is the e-mail address.
    #[error("the e-mail address is no password")]
    Email,
}

/// Checks a new password. What it is made of is left to its owner.
pub(super) fn check(password: &str, email: &str) -> Result<(), PasswordError> {
    match password.chars().take(LONGEST_PASSWORD + 1).count() {
        ..SHORTEST_PASSWORD => Err(PasswordError::TooShort),
        count if count > LONGEST_PASSWORD => Err(PasswordError::TooLong),
        _ if password.trim().to_lowercase() == email => Err(PasswordError::Email),
        _ => Ok(()),
    }
}

/// Whether it is worth hashing. No user has a password that is not, so that saying so at once tells nothing.
pub(super) fn may_be_one(password: &str) -> bool {
    password.chars().take(LONGEST_PASSWORD + 1).count() <= LONGEST_PASSWORD
}

/// Hashes and verifies passwords.
#[derive(Clone)]
pub(super) struct Hasher {
    places: Arc<Semaphore>,
    at_work: Arc<Semaphore>,
}

/// A place among those who hash or wait for it.
pub(super) struct Place {
    _held: OwnedSemaphorePermit,
}

impl Default for Hasher {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(PLACES)), at_work: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Hasher {
    /// A place, if one is free.
    pub(super) fn place(&self) -> Option<Place> {
        self.places.clone().try_acquire_owned().ok().map(|held| Place { _held: held })
    }

    /// Hashes a new password.
    pub(super) async fn hash(&self, place: Place, password: String, salt: [u8; 16]) -> String {
        let work = move || {
            let hash = argon2().hash_password_with_salt(password.as_bytes(), &salt);
            hash.expect("a password of this length and a salt of 16 bytes can be hashed").to_string()
        };
        self.work(place, work).await.0
    }

    /// Tells whether a password fits a hash; without a hash, in the same time, that it does not. Gives the place back for what follows.
    pub(super) async fn verify(&self, place: Place, password: String, hash: Option<String>) -> (bool, Place) {
        let work = move || {
            let fits = argon2().verify_password(password.as_bytes(), hash.as_deref().unwrap_or(NOBODY));
            fits.is_ok() && hash.is_some()
        };
        self.work(place, work).await
    }

    async fn work<T: Send + 'static>(&self, place: Place, work: impl FnOnce() -> T + Send + 'static) -> (T, Place) {
        let turn = self.at_work.clone().acquire_owned().await.expect("the hasher is never closed");
        let work = move || {
            // Held by the work and not by the caller, who may go away before it ends.
            let _turn = turn;
            (work(), place)
        };
        tokio::task::spawn_blocking(work)
            .await
            .expect("hashing does not panic, and is not broken off while a caller waits")
    }
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("these are OWASP's");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::phc::PasswordHash;

    use super::*;

    #[test]
    fn passwords_have_a_length_and_are_not_the_address() {
        let check = |password: &str| check(password, "ada@example.com");
        assert_eq!(check("ninechars"), Err(PasswordError::TooShort));
        assert_eq!(check("ten chars!"), Ok(()));
        assert_eq!(check("ääääääääää"), Ok(()), "characters, not bytes");
        assert_eq!(check(&"x".repeat(200)), Ok(()));
        assert_eq!(check(&"x".repeat(201)), Err(PasswordError::TooLong));
        assert_eq!(check("Ada@Example.com"), Err(PasswordError::Email));
        assert!(may_be_one("short") && !may_be_one(&"x".repeat(201)));
    }

    /// The hash of nobody costs what any other costs.
    #[test]
    fn nobody_costs_as_much_as_anybody() {
        let nobody = PasswordHash::new(NOBODY).unwrap();
        let anybody = argon2().hash_password_with_salt(b"correct horse", &[7; 16]).unwrap();
        assert_eq!(nobody.algorithm, anybody.algorithm);
        assert_eq!((nobody.version, &nobody.params), (anybody.version, &anybody.params));
        let lengths = |hash: &PasswordHash| (hash.salt.as_ref().unwrap().len(), hash.hash.as_ref().unwrap().len());
        assert_eq!(lengths(&nobody), lengths(&anybody));
    }

    #[tokio::test]
    async fn a_hash_fits_its_password_alone() {
        let hasher = Hasher::default();
        let place = || hasher.place().unwrap();
        let hash = hasher.hash(place(), "correct horse".to_owned(), [7; 16]).await;
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(hasher.verify(place(), "correct horse".to_owned(), Some(hash.clone())).await.0);
        assert!(!hasher.verify(place(), "Correct horse".to_owned(), Some(hash)).await.0);
        assert!(!hasher.verify(place(), "correct horse".to_owned(), None).await.0);
        assert!(!hasher.verify(place(), "correct horse".to_owned(), Some("plain".to_owned())).await.0);
    }

    #[test]
    fn places_are_bounded() {
        let hasher = Hasher::default();
        let held: Vec<_> = (0..PLACES).map(|_| hasher.place().unwrap()).collect();
        assert!(hasher.place().is_none());
        drop(held);
        assert!(hasher.place().is_some());
    }
}
