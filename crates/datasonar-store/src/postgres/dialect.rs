//! The common SQL, as PostgreSQL reads it.

use std::fmt::Write;

/// Numbers the placeholders and leaves out what is for SQLite alone.
pub(super) fn translate(sql: &str) -> String {
    let mut written = String::with_capacity(sql.len() + 16);
    let mut last = 0_u32;
    let mut rest = sql;
    while let Some(at) = rest.find(['?', '\'', 'I']) {
        let (before, from) = rest.split_at(at);
        written.push_str(before);
        rest = match from.as_bytes()[0] {
            b'?' => {
                let digits = from[1..].bytes().take_while(u8::is_ascii_digit).count();
                let place = from[1..=digits].parse().unwrap_or(last + 1);
                last = last.max(place);
                write!(written, "${place}").expect("a string can be written");
                &from[1 + digits..]
            }
            b'\'' => {
                let end = from[1..].find('\'').map_or(from.len(), |end| end + 2);
                written.push_str(&from[..end]);
                &from[end..]
            }
            _ => match from.strip_prefix("INDEXED BY ") {
                Some(hint) => hint.trim_start_matches(|next: char| next.is_ascii_alphanumeric() || next == '_'),
                None => {
                    written.push('I');
                    &from[1..]
                }
            },
        };
    }
    written.push_str(rest);
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_numbered_and_hints_left_out() {
        for (sql, expected) in [
            ("SELECT a FROM t WHERE b = ? AND c = ?", "SELECT a FROM t WHERE b = $1 AND c = $2"),
            ("x = ?2 AND y = ?1 AND z = ?", "x = $2 AND y = $1 AND z = $3"),
            ("FROM t INDEXED BY t_by_x WHERE a = '?' AND b = ?", "FROM t  WHERE a = '?' AND b = $1"),
            ("INSERT INTO t VALUES (?, 'I', '')", "INSERT INTO t VALUES ($1, 'I', '')"),
        ] {
            assert_eq!(translate(sql), expected);
        }
    }
}
