//! From a value's text to what it means.

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;

use super::{LogFormat, Role, SettingError};

/// A setting's text and where it came from.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) spelling: String,
    pub(super) value: String,
}

impl Given {
    pub(super) fn parse<T>(
        &self,
        expected: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, SettingError> {
        parse(self.value.trim()).ok_or_else(|| SettingError::Malformed {
            spelling: self.spelling.clone(),
            value: self.value.clone(),
            expected,
        })
    }

    pub(super) fn refused(&self, reason: impl Into<String>) -> SettingError {
        SettingError::Refused { spelling: self.spelling.clone(), reason: reason.into() }
    }
}

/// `30s`, `1h 30m`, `0ms`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}

/// `10485760`, `10MiB`, `10 MB`.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|next: char| !next.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// A limit: a number of at least 1, or none.
pub(super) fn most(text: &str) -> Option<Option<u64>> {
    match text {
        "unlimited" => Some(None),
        number => number.parse().ok().filter(|&number| number > 0).map(Some),
    }
}

/// A list separated by commas; an empty text is an empty list.
pub(super) fn list<T>(text: &str, parse: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(parse).collect()
}

/// `10.0.0.0/8`, `fd00::/8`; an address alone is a network of one.
pub(super) fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

pub(super) fn role(text: &str) -> Option<Role> {
    match text {
        "api" => Some(Role::Api),
        "worker" => Some(Role::Worker),
        "dispatcher" => Some(Role::Dispatcher),
        "scheduler" => Some(Role::Scheduler),
        _ => None,
    }
}

pub(super) fn log_format(text: &str) -> Option<LogFormat> {
    match text {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        _ => None,
    }
}

pub(super) fn switch(text: &str) -> Option<bool> {
    match text {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

/// 64 hex digits.
pub(super) fn encryption_key(text: &str) -> Option<String> {
    (text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_network_of_one() {
        for (text, expected) in [
            ("10.0.0.0/8", Some("10.0.0.0/8")),
            ("10.1.2.3", Some("10.1.2.3/32")),
            ("fd00::1", Some("fd00::1/128")),
            ("10.0.0.0/33", None),
            ("proxy.example", None),
        ] {
            assert_eq!(network(text), expected.map(|net| net.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn sizes_have_units() {
        for (text, expected) in [
            ("0", Some(0)),
            ("10485760", Some(10_485_760)),
            ("10MiB", Some(10_485_760)),
            ("10 mib", Some(10_485_760)),
            ("2GB", Some(2_000_000_000)),
            ("", None),
            ("MiB", None),
            ("-1", None),
            ("1.5MiB", None),
            ("10 apples", None),
            ("99999999999GiB", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }
}
