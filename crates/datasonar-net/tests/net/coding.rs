//! Content codings, honest and hostile.

use async_compression::tokio::write as encode;
use datasonar_net::{FetchErrorKind, FetchRequest};
use tokio::io::AsyncWriteExt;

use crate::world::{get, one_site, reply};

macro_rules! encoded {
    ($encoder:ident, $bytes:expr) => {{
        let mut encoder = encode::$encoder::new(Vec::new());
        encoder.write_all($bytes.as_ref()).await.unwrap();
        encoder.shutdown().await.unwrap();
        encoder.into_inner()
    }};
}

fn page() -> String {
    (0..20_000).map(|n| format!("<p>{}</p>", n * 7919 % 10_007)).collect()
}

async fn fetched(coding: &'static str, body: Vec<u8>) -> Result<datasonar_net::Fetched, datasonar_net::FetchError> {
    let header = format!("content-encoding: {coding}");
    one_site(move |_| reply("200 OK", &[&header], &body)).client().fetch(get("http://site.example/")).await
}

#[tokio::test]
async fn every_coding_offered_is_undone() {
    let page = page();
    for (coding, body) in [
        ("gzip", encoded!(GzipEncoder, &page)),
        ("x-gzip", encoded!(GzipEncoder, &page)),
        ("br", encoded!(BrotliEncoder, &page)),
        ("zstd", encoded!(ZstdEncoder, &page)),
        ("deflate", encoded!(ZlibEncoder, &page)),
        ("deflate", encoded!(DeflateEncoder, &page)),
        ("identity", page.clone().into_bytes()),
        ("GZIP, identity", encoded!(GzipEncoder, &page)),
    ] {
        let fetched = fetched(coding, body).await.unwrap();
        assert!(fetched.body == page, "{coding}");
        assert_eq!(fetched.headers.contains_key("content-encoding"), coding == "identity", "{coding}");
        assert_eq!(fetched.headers.contains_key("content-length"), coding == "identity", "{coding}");
    }
}

#[tokio::test]
async fn oddities_of_the_web_are_taken() {
    let mut two = encoded!(GzipEncoder, "first ");
    two.extend(encoded!(GzipEncoder, "second"));
    assert_eq!(fetched("gzip", two).await.unwrap().body, "first second");
    assert_eq!(fetched("gzip", Vec::new()).await.unwrap().body, "", "an empty body, labelled all the same");
    assert_eq!(fetched("aws-chunked", b"as it is".to_vec()).await.unwrap().body, "as it is");
}

#[tokio::test]
async fn a_cut_or_broken_stream_is_not_a_page() {
    let page = page();
    for (coding, whole) in [
        ("gzip", encoded!(GzipEncoder, &page)),
        ("br", encoded!(BrotliEncoder, &page)),
        ("zstd", encoded!(ZstdEncoder, &page)),
        ("deflate", encoded!(ZlibEncoder, &page)),
    ] {
        for keep in [1, whole.len() / 2, whole.len() - 1] {
            let error = fetched(coding, whole[..keep].to_vec()).await.unwrap_err();
            assert_eq!(
                (error.kind, error.code()),
                (FetchErrorKind::Decode, "decode_error"),
                "{coding} {keep}: {error}"
            );
        }
    }
    let error = fetched("gzip", b"<html>not gzip at all</html>".to_vec()).await.unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Decode);
    assert!(!error.is_transient());
    let mut flipped = encoded!(GzipEncoder, &page);
    let end = flipped.len() - 5;
    flipped[end] ^= 1;
    assert_eq!(fetched("gzip", flipped).await.unwrap_err().kind, FetchErrorKind::Decode, "the checksum is checked");
    let twice = encoded!(GzipEncoder, encoded!(GzipEncoder, &page));
    assert_eq!(fetched("gzip, gzip", twice).await.unwrap_err().kind, FetchErrorKind::Decode);
}

#[tokio::test]
async fn bombs_are_too_large() {
    let zeros = vec![0; 64 * 1024 * 1024];
    for (coding, bomb) in [
        ("gzip", encoded!(GzipEncoder, &zeros)),
        ("br", encoded!(BrotliEncoder, &zeros)),
        ("zstd", encoded!(ZstdEncoder, &zeros)),
    ] {
        let header = format!("content-encoding: {coding}");
        let world = one_site(move |_| reply("200 OK", &[&header], &bomb));
        let client = world.client();
        let by_size = client.fetch(FetchRequest { max_body_bytes: 1_000_000, ..get("http://site.example/") });
        let error = by_size.await.unwrap_err();
        assert_eq!(
            (error.kind, error.message.as_str()),
            (FetchErrorKind::BodyTooLarge, "the body is larger than 1000000 bytes")
        );
        let by_ratio = client.fetch(FetchRequest { max_body_bytes: 1 << 30, ..get("http://site.example/") });
        let error = by_ratio.await.unwrap_err();
        assert_eq!(
            (error.kind, error.message.as_str()),
            (FetchErrorKind::BodyTooLarge, "the body expands more than 200 times")
        );
    }
}

#[tokio::test]
async fn empty_members_without_end_are_too_large() {
    let empty = encoded!(GzipEncoder, "");
    let body = empty.repeat(2 * 1024 * 1024 / empty.len());
    let world = one_site(move |_| reply("200 OK", &["content-encoding: gzip"], &body));
    let error =
        world.client().fetch(FetchRequest { max_body_bytes: 1000, ..get("http://site.example/") }).await.unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::BodyTooLarge);
}
