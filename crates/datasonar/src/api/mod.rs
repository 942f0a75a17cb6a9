//! stub
/// stub
pub fn router(_app: crate::app::App) -> axum::Router { axum::Router::new() }
