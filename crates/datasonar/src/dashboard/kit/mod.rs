//! What all pages share: who looks at them ([`Viewer`]), what they send back ([`Form`]), how they are answered ([`page`], [`Failure`]), and how
//! numbers, times and courses are shown to people.

pub(super) mod chart;
mod failure;
mod form;
pub(super) mod guard;
mod live;
mod page;
mod query;
mod say;
mod viewer;

pub(super) use failure::{Failure, dress, sentence, wrong_fields};
pub(super) use form::{Form, Upload, fields};
pub(super) use live::{LiveQuery, News, live};
pub(super) use page::{Chrome, Section, download, frame_page, page, redirect, redirect_with};
pub(super) use query::Queried;
pub(super) use say::{When, bytes, count, duration_ms, exact, percent, shell_call, span};
pub(super) use viewer::{SESSION, Viewer, cookie, cookie_of, session_cookie, theme};
