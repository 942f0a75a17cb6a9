//! Percent-encoding (RFC 3986, section 2), for those who compare URLs.

/// The octet that two hexadecimal digits stand for.
pub(crate) fn octet(digits: Option<&[u8]>) -> Option<u8> {
    let [high, low] = digits? else { return None };
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// What means the same encoded and plain (section 2.3).
pub(crate) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// What may stand in a URL as it is: unreserved and reserved characters.
pub(crate) fn is_plain(byte: u8) -> bool {
    const RESERVED: &[u8] = b":/?#[]@!$&'()*+,;=";
    is_unreserved(byte) || RESERVED.contains(&byte)
}
