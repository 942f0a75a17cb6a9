//! Browsers that somebody has signed in with before.
//!
//! Such a browser has a cookie: a random number, and a tag over it and the e-mail address. It has failures of its own to answer for,
//! so that strangers who guess somebody's password do not keep them out (OWASP, "device cookies"). The cookie opens nothing, and
//! nothing is stored of it.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::{clock::Ids, crypto::Sealer};

/// Bytes of the number.
const NUMBER: usize = 16;

/// Makes the value of a browser's cookie for an e-mail address.
pub(super) fn new(sealer: &Sealer, ids: &Ids, email: &str) -> String {
    let number: [u8; NUMBER] = ids.bytes();
    let tag = sealer.tag(&tagged(email, &number));
    BASE64_URL_SAFE_NO_PAD.encode([&number[..], &tag[..]].concat())
}

/// Returns a browser's number, if its cookie was made for this e-mail address.
pub(super) fn number(sealer: &Sealer, cookie: &str, email: &str) -> Option<[u8; NUMBER]> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cookie).ok()?;
    let (number, tag) = bytes.split_first_chunk::<NUMBER>()?;
    sealer.knows(&tagged(email, number), tag).then_some(*number)
}

fn tagged(email: &str, number: &[u8; NUMBER]) -> Vec<u8> {
    [&b"device "[..], number, email.as_bytes()].concat()
}
