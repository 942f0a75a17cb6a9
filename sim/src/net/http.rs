//! As much of HTTP/1.1 as a site or an endpoint needs.

use std::{collections::BTreeMap, io};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufStream};

/// A request's head.
pub(super) struct Request {
    pub(super) path: String,
    headers: BTreeMap<String, String>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// Reads the next head; `None` when the connection has ended.
    pub(super) async fn read<S: AsyncRead + AsyncWrite + Unpin>(on: &mut BufStream<S>) -> io::Result<Option<Self>> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if on.read_line(&mut line).await? == 0 {
                return Ok(None);
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let path = lines.first().and_then(|line| line.split(' ').nth(1)).unwrap_or("/").to_owned();
        let header = |line: &String| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        };
        Ok(Some(Self { path, headers: lines.iter().skip(1).filter_map(header).collect() }))
    }

    pub(super) async fn body<S: AsyncRead + AsyncWrite + Unpin>(&self, on: &mut BufStream<S>) -> io::Result<Vec<u8>> {
        let mut body = vec![0; self.header("content-length").parse().unwrap_or(0)];
        on.read_exact(&mut body).await?;
        Ok(body)
    }
}

/// Writes a whole response.
pub(super) async fn respond<S: AsyncRead + AsyncWrite + Unpin>(
    on: &mut BufStream<S>,
    status: u16,
    headers: &str,
    body: &[u8],
) -> io::Result<()> {
    let head = format!("HTTP/1.1 {status} Status\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    on.write_all(head.as_bytes()).await?;
    on.write_all(body).await?;
    on.flush().await
}
