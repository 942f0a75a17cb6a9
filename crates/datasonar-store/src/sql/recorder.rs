//! Keeps the statements that are read with, for those who want to see their plans.

use std::cell::RefCell;

use super::Value;

/// Statements with the values of their placeholders.
type Seen = Vec<(String, Vec<Value<'static>>)>;

thread_local! {
    static SEEN: RefCell<Option<Seen>> = const { RefCell::new(None) };
}

/// Does some work, and answers with it the statements that read during it, on this thread.
pub(crate) fn recorded<T>(work: impl FnOnce() -> T) -> (T, Seen) {
    SEEN.with_borrow_mut(|seen| *seen = Some(Vec::new()));
    let done = work();
    (done, SEEN.take().unwrap_or_default())
}

/// Keeps a statement, if somebody wants to see it.
pub(super) fn note(sql: &str, values: &[Value<'_>]) {
    SEEN.with_borrow_mut(|seen| {
        if let Some(seen) = seen {
            seen.push((sql.to_owned(), values.iter().map(|value| value.clone().into_owned()).collect()));
        }
    });
}
