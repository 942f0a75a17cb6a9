//! Documents of other kinds than HTML, scraped through the interface: a PDF, a feed, data; and what is none of them.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{
    pdfs,
    server::{Server, Setup},
};

const FEED: &str = "<?xml version='1.0'?><rss version='2.0'><channel><title>Tides</title><item><title>High water</title>\
    <link>/t/1</link><pubDate>Thu, 05 Mar 2026 10:00:00 GMT</pubDate><description>&lt;p&gt;At &lt;b&gt;ten&lt;/b&gt;.&lt;/p&gt;</description>\
    </item></channel></rss>";

/// Answers a request for one of the documents.
async fn answer(mut stream: TcpStream) {
    let mut request = vec![0; 4096];
    let read = stream.read(&mut request).await.unwrap_or(0);
    let request = String::from_utf8_lossy(&request[..read]).into_owned();
    let path = request.split(' ').nth(1).unwrap_or_default();
    let (media, body) = match path {
        "/paper" => {
            let lines: &[(f32, f32, &str)] = &[
                (24.0, 0.0, "On soundings"),
                (10.0, 0.0, "A sentence that is set in the size of the text, so that it is no heading."),
            ];
            ("application/pdf", pdfs::document(&[lines], "<< /Author (Ada Pilot) /CreationDate (D:20260305101500Z) >>"))
        }
        "/feed" => ("application/rss+xml", FEED.as_bytes().to_vec()),
        "/table.csv" => ("text/csv", b"place,depth\nquay,7".to_vec()),
        "/broken.pdf" => ("application/pdf", b"%PDF-1.7 and then nothing".to_vec()),
        _ => ("image/png", b"\x89PNG\r\n\x1a\n".to_vec()),
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {media}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(&[head.as_bytes(), &body].concat()).await;
}

/// A site of documents.
async fn documents() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    address
}

#[tokio::test]
async fn documents_of_other_kinds_have_content_in_every_format() {
    let server = Setup::new().start().await;
    let site = documents().await;
    let scrape = async |server: &Server, path: &str, format: Value| {
        let body = json!({"url": format!("http://{site}{path}"), "format": format});
        server.post("/v1/scrape", &body).await
    };
    let paper =
        scrape(&server, "/paper", json!(["markdown", "text", "html", "json", "links", "raw_html"])).await.is(200);
    let sentence = "A sentence that is set in the size of the text, so that it is no heading.";
    assert_eq!(paper["content"]["markdown"], format!("# On soundings\n\n{sentence}\n"));
    assert_eq!(paper["content"]["text"], format!("On soundings\n\n{sentence}\n"));
    assert_eq!(paper["content"]["json"]["blocks"][1], json!({"type": "paragraph", "text": sentence}));
    assert_eq!(paper["metadata"]["title"], "On soundings");
    assert_eq!(paper["metadata"]["author"], "Ada Pilot");
    assert_eq!(paper["metadata"]["published_at"], "2026-03-05T10:15:00Z");
    assert_eq!(paper["metadata"]["content_type"], "application/pdf");
    let feed = scrape(&server, "/feed", json!("markdown")).await.is(200);
    let expected = format!("# Tides\n\n## [High water](http://{site}/t/1)\n\n2026-03-05T10:00:00Z\n\nAt **ten**.\n");
    assert_eq!(feed["content"], expected);
    let table = scrape(&server, "/table.csv", json!("markdown")).await.is(200);
    assert_eq!(table["content"], "| place | depth |\n| --- | --- |\n| quay | 7 |\n");
    server.finish().await;
}

#[tokio::test]
async fn what_has_no_text_is_unsupported_and_what_is_broken_cannot_be_decoded() {
    let server = Setup::new().start().await;
    let site = documents().await;
    for (path, code) in [("/picture", "unsupported_content"), ("/broken.pdf", "decode_error")] {
        let page = server.post("/v1/scrape", &json!({"url": format!("http://{site}{path}")})).await.is(502);
        assert_eq!(page["error"]["code"], code, "{path}");
        assert!(page.get("content").is_none_or(Value::is_null));
    }
    server.finish().await;
}
