//! Dates, however they are written, as ISO 8601; what could be two dates is none.

/// Names of months by how they begin, in the languages that write them in Latin letters and are common.
const MONTHS: [(&str, u32); 51] = [
    ("jan", 1),
    ("ene", 1),
    ("gen", 1),
    ("jän", 1),
    ("feb", 2),
    ("fév", 2),
    ("fev", 2),
    ("mar", 3),
    ("mär", 3),
    ("mrz", 3),
    ("maa", 3),
    ("mrt", 3),
    ("apr", 4),
    ("avr", 4),
    ("abr", 4),
    ("may", 5),
    ("mai", 5),
    ("mei", 5),
    ("mag", 5),
    ("maj", 5),
    ("jun", 6),
    ("juin", 6),
    ("giu", 6),
    ("jul", 7),
    ("juil", 7),
    ("lug", 7),
    ("aug", 8),
    ("aoû", 8),
    ("aou", 8),
    ("ago", 8),
    ("sep", 9),
    ("set", 9),
    ("oct", 10),
    ("okt", 10),
    ("out", 10),
    ("ott", 10),
    ("nov", 11),
    ("dec", 12),
    ("dez", 12),
    ("déc", 12),
    ("dic", 12),
    ("янв", 1),
    ("фев", 2),
    ("мар", 3),
    ("апр", 4),
    ("июн", 6),
    ("июл", 7),
    ("авг", 8),
    ("сен", 9),
    ("окт", 10),
    ("дек", 12),
];

/// A date, with its time and zone where they are given whole, if it is one and can be read without guessing.
pub(crate) fn iso_date(date: &str) -> Option<String> {
    let date = date.trim();
    if date.len() > 128 {
        return None;
    }
    year_first(date).or_else(|| numbers(date)).or_else(|| worded(date))
}

/// A date as PDF writes it: `D:20260305101500+02'00'`.
pub(crate) fn pdf_date(date: &str) -> Option<String> {
    let date = date.trim();
    let date = date.strip_prefix("D:").unwrap_or(date);
    let digits = date.bytes().take_while(u8::is_ascii_digit).count();
    if digits < 8 {
        return iso_date(date);
    }
    let day = day_of(date[..4].parse().ok()?, date[4..6].parse().ok()?, date[6..8].parse().ok()?)?;
    if digits < 12 {
        return Some(day);
    }
    let seconds = date.get(12..14).filter(|_| digits >= 14).unwrap_or("00");
    let zone = date[digits..].replace('\'', "");
    let time = format!("{}:{}:{seconds}{zone}", &date[8..10], &date[10..12]);
    Some(time_of(&time).map_or(day.clone(), |time| format!("{day}T{time}")))
}

/// `2026-03-05`, `2026/3/5`, `2026年3月5日`, `20260305`, each with what follows.
fn year_first(date: &str) -> Option<String> {
    let bytes = date.as_bytes();
    if bytes.len() == 8 && bytes.iter().all(u8::is_ascii_digit) {
        return day_of(date[..4].parse().ok()?, date[4..6].parse().ok()?, date[6..].parse().ok()?);
    }
    let (year, rest) = number(date)?;
    if !(1000..=9999).contains(&year) {
        return None;
    }
    let rest = rest.strip_prefix(['-', '/', '.', '年', '년'])?;
    let (month, rest) = number(rest.trim_start())?;
    let rest = rest.strip_prefix(['-', '/', '.', '月', '월'])?;
    let (day, rest) = number(rest.trim_start())?;
    let day = day_of(year, month, day)?;
    let time = rest.trim_start_matches(['T', 't', ' ', '日', '일', ',']).trim();
    Some(time_of(time).map_or(day.clone(), |time| format!("{day}T{time}")))
}

/// `05.03.2026`, and with slashes where only one order is possible.
fn numbers(date: &str) -> Option<String> {
    let (first, rest) = number(date)?;
    let sign = rest.chars().next().filter(|sign| matches!(sign, '.' | '/' | '-'))?;
    let (second, rest) = number(rest[1..].trim_start())?;
    let (year, rest) = number(rest.strip_prefix(sign)?.trim_start())?;
    if !(1000..=9999).contains(&year) {
        return None;
    }
    let (day, month) = match (sign, first, second) {
        ('.', day, month) => (day, month),
        (_, day @ 13..=31, month) => (day, month),
        (_, month, day @ 13..=31) => (day, month),
        (_, same, other) if same == other => (same, other),
        _ => return None,
    };
    let day = day_of(year, month, day)?;
    Some(time_of(rest.trim_start_matches([' ', ','])).map_or(day.clone(), |time| format!("{day}T{time}")))
}

/// `March 5, 2026`, `5. März 2026`, `Thu, 05 Mar 2026 10:00:00 GMT`.
fn worded(date: &str) -> Option<String> {
    let (mut year, mut month, mut day, mut time) = (None, None, None, None);
    let mut words = date.split([' ', ',', '\u{a0}', '\u{202f}']).filter(|word| !word.is_empty()).take(9);
    while let Some(word) = words.next() {
        if word.contains(':') {
            // The rest is the time, and its zone.
            time = Some(std::iter::once(word).chain(words.by_ref()).collect::<Vec<_>>().join(" "));
            break;
        }
        let digits = word.bytes().take_while(u8::is_ascii_digit).count();
        let tail = &word[digits..];
        match word[..digits].parse::<u32>() {
            Ok(number @ 1000..=9999) if tail.is_empty() || tail == "." => year = year.or(Some(number)),
            Ok(number @ 1..=31) if matches!(tail, "" | "." | "st" | "nd" | "rd" | "th" | "er" | "º" | "o") => {
                day = day.or(Some(number));
            }
            _ => month = month.or_else(|| month_of(word)),
        }
    }
    let day = day_of(year?, month?, day?)?;
    let time = time.and_then(|time| time_of(&time));
    Some(time.map_or(day.clone(), |time| format!("{day}T{time}")))
}

fn month_of(word: &str) -> Option<u32> {
    let lower = word.to_lowercase();
    // "May" apart, all names are longer; a weekday may begin as one does ("mar." is Tuesday, too).
    let fits = lower.chars().all(|next| next.is_alphabetic() || next == '.');
    if !fits || matches!(lower.as_str(), "mar." | "mardi" | "martes" | "martedì" | "maandag" | "married" | "мая") {
        return (lower == "мая").then_some(5);
    }
    MONTHS.iter().find(|(start, _)| lower.starts_with(start)).map(|(_, month)| *month)
}

fn number(text: &str) -> Option<(u32, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    (1..=4).contains(&digits).then(|| Some((text[..digits].parse().ok()?, &text[digits..])))?
}

fn day_of(year: u32, month: u32, day: u32) -> Option<String> {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(is_leap),
        1..=12 => 31,
        _ => return None,
    };
    (1..=days).contains(&day).then(|| format!("{year:04}-{month:02}-{day:02}"))
}

/// A time of day with its zone, such as `07:30:00+02:00`; none if it is not whole.
fn time_of(time: &str) -> Option<String> {
    let time = time.trim();
    let end = time.bytes().take_while(|byte| byte.is_ascii_digit() || matches!(byte, b':' | b'.')).count();
    let (clock, zone) = time.split_at(end);
    let mut parts = clock.split(':');
    let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next().unwrap_or("00"));
    let two = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    let mut hours: u32 = hours.parse().ok().filter(|_| hours.len() <= 2)?;
    let whole = seconds.split('.').next().unwrap_or_default();
    if parts.next().is_some() || !two(minutes) || !two(whole) || hours > 24 || minutes > "59" || whole > "60" {
        return None;
    }
    let zone = zone.trim();
    let half = zone.get(..2).map(str::to_ascii_lowercase);
    let zone = match half.as_deref() {
        Some("am") if hours <= 12 => {
            hours %= 12;
            zone[2..].trim()
        }
        Some("pm") if hours <= 12 => {
            hours = hours % 12 + 12;
            zone[2..].trim()
        }
        _ => zone,
    };
    let seconds = seconds.trim_end_matches('.');
    Some(format!("{hours:02}:{minutes}:{seconds}{}", zone_of(zone)))
}

/// A zone as an offset; nothing for a name that could be several.
fn zone_of(zone: &str) -> String {
    let bytes = zone.as_bytes();
    match bytes {
        b"Z" | b"z" | b"GMT" | b"UTC" | b"UT" => "Z".to_owned(),
        b"EST" => "-05:00".to_owned(),
        b"EDT" => "-04:00".to_owned(),
        b"CDT" => "-05:00".to_owned(),
        b"PST" => "-08:00".to_owned(),
        b"PDT" => "-07:00".to_owned(),
        b"CET" => "+01:00".to_owned(),
        b"CEST" => "+02:00".to_owned(),
        [b'+' | b'-', rest @ ..] => {
            let digits: Vec<u8> = rest.iter().copied().filter(u8::is_ascii_digit).collect();
            let is_whole = rest.iter().all(|byte| byte.is_ascii_digit() || *byte == b':');
            match digits[..] {
                [h, i] if is_whole => format!("{}{}{}:00", char::from(bytes[0]), char::from(h), char::from(i)),
                [h, i, m, n] if is_whole => {
                    format!(
                        "{}{}{}:{}{}",
                        char::from(bytes[0]),
                        char::from(h),
                        char::from(i),
                        char::from(m),
                        char::from(n)
                    )
                }
                _ => String::new(),
            }
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_become_iso() {
        for (date, expected) in [
            ("2026-03-05", Some("2026-03-05")),
            ("2026-03-05T10:00:00Z", Some("2026-03-05T10:00:00Z")),
            ("2026-03-05 10:00", Some("2026-03-05T10:00:00")),
            ("2026-03-05T10:00:00.123+0200", Some("2026-03-05T10:00:00.123+02:00")),
            ("2026-03-05T10:00:00 +02", Some("2026-03-05T10:00:00+02:00")),
            ("2026-03-05T25:00:00", Some("2026-03-05")),
            ("2026/03/05", Some("2026-03-05")),
            ("2026-3-5", Some("2026-03-05")),
            ("20260305", Some("2026-03-05")),
            ("2026年3月5日", Some("2026-03-05")),
            ("2026. 3. 5.", Some("2026-03-05")),
            ("March 5th, 2026", Some("2026-03-05")),
            ("Mar 5, 2026, 3:07 pm", Some("2026-03-05T15:07:00")),
            ("12:30", None),
            ("5. März 2026", Some("2026-03-05")),
            ("5 mars 2026", Some("2026-03-05")),
            ("jeudi 1er août 2026", Some("2026-08-01")),
            ("5 de diciembre de 2026", Some("2026-12-05")),
            ("5 мая 2026", Some("2026-05-05")),
            ("Thu, 05 Mar 2026 10:00:00 GMT", Some("2026-03-05T10:00:00Z")),
            ("Thu, 05 Mar 2026 10:00:00 -0500", Some("2026-03-05T10:00:00-05:00")),
            ("2026-13-05", None),
            ("2026-02-29", None),
            ("2028-02-29", Some("2028-02-29")),
            ("yesterday", None),
            ("05/03/2026", None),
            ("25/03/2026", Some("2026-03-25")),
            ("03/25/2026", Some("2026-03-25")),
            ("05.03.2026", Some("2026-03-05")),
            ("é", None),
            ("", None),
        ] {
            assert_eq!(iso_date(date).as_deref(), expected, "{date}");
        }
    }

    #[test]
    fn dates_of_pdf_are_read() {
        for (date, expected) in [
            ("D:20260305101500+02'00'", Some("2026-03-05T10:15:00+02:00")),
            ("D:20260305101500Z", Some("2026-03-05T10:15:00Z")),
            ("D:20260305", Some("2026-03-05")),
            ("20261305", None),
            ("", None),
        ] {
            assert_eq!(pdf_date(date).as_deref(), expected, "{date}");
        }
    }
}
