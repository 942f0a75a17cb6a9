//! E-mail addresses: brought to one form, and checked for what would never work. Whether one exists is not for us to know: it only has to be the
//! same whenever its owner types it.

/// The longest address (RFC 5321, 4.5.3.1.3, without the angle brackets).
const LONGEST: usize = 254;

/// What is wrong with an e-mail address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmailError {
    /// It does not look like one.
    #[error("this is no e-mail address")]
    Malformed,
    /// It is too long.
    #[error("an e-mail address has at most {LONGEST} characters")]
    TooLong,
}

/// An address as it is stored and compared.
pub(super) fn lower(text: &str) -> String {
    text.trim().to_lowercase()
}

/// The same, of what looks like one.
///
/// # Errors
/// When it does not.
pub fn checked(text: &str) -> Result<String, EmailError> {
    let email = lower(text);
    if email.len() > LONGEST {
        return Err(EmailError::TooLong);
    }
    let is_sound = |part: &str| {
        !part.is_empty()
            && !part.contains(|next: char| next.is_whitespace() || next.is_control() || "<>,;\"".contains(next))
    };
    match email.rsplit_once('@') {
        Some((local, host)) if is_sound(local) && is_sound(host) && !local.contains('@') => Ok(email),
        _ => Err(EmailError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_one_form() {
        for (text, expected) in [
            (" Ada.Lovelace@Example.COM\n", Ok("ada.lovelace@example.com")),
            ("owner@localhost", Ok("owner@localhost")),
            ("ÄDA@example.com", Ok("äda@example.com")),
            ("ada", Err(EmailError::Malformed)),
            ("@example.com", Err(EmailError::Malformed)),
            ("ada@", Err(EmailError::Malformed)),
            ("ada@b@example.com", Err(EmailError::Malformed)),
            ("ada lovelace@example.com", Err(EmailError::Malformed)),
            ("ada@exam\0ple.com", Err(EmailError::Malformed)),
            ("<ada@example.com>", Err(EmailError::Malformed)),
            ("", Err(EmailError::Malformed)),
        ] {
            assert_eq!(checked(text).as_deref(), expected.as_ref().map(|text| *text), "{text:?}");
        }
        let long = format!("{}@example.com", "a".repeat(243));
        assert_eq!(checked(&long), Err(EmailError::TooLong));
        assert!(checked(&long[1..]).is_ok());
    }
}
