//! Where a browser on this machine comes back to (RFC 8252 §7.3): one port of the loopback interface, for one answer.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Longest head of a request.
const HEAD_OCTETS_MAX: usize = 32 * 1024;
/// How long a browser may take to say what it wants.
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// A port that listens.
pub(super) struct Loopback(TcpListener);

impl Loopback {
    /// On this port; 0 for one of the system's choice.
    pub(super) async fn listen(port: u16) -> io::Result<Loopback> {
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map(Loopback)
    }

    pub(super) fn port(&self) -> u16 {
        self.0.local_addr().map_or(0, |address| address.port())
    }

    /// Waits for the browser; what it asks for has the answer in its query. Others, such as the browser's question for an icon, or a page that sends it
    /// here, are sent away.
    pub(super) async fn answer(&self, is_ours: impl Fn(&str) -> bool) -> io::Result<(String, Back)> {
        loop {
            let (mut stream, _) = self.0.accept().await?;
            let Ok(Some(target)) = timeout(REQUEST_MAX, target(&mut stream)).await else { continue };
            if is_ours(&target) {
                return Ok((target, Back(stream)));
            }
            Back(stream).say("404 Not Found", "Nothing is here.").await;
        }
    }
}

/// The browser that waits for a page.
pub(super) struct Back(TcpStream);

impl Back {
    /// Shows how it ended.
    pub(super) async fn tell(self, went_well: bool) {
        let text = if went_well { "Signed in. This window can be closed." } else { "That did not work: the terminal says why." };
        self.say("200 OK", text).await;
    }

    async fn say(mut self, status: &str, text: &str) {
        let page = format!("<!DOCTYPE html><meta charset=utf-8><title>mailgather</title><p>{text}\n");
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nCache-Control: no-store\r\nReferrer-Policy: no-referrer\r\n\
             Connection: close\r\n\r\n{page}",
            page.len()
        );
        // A browser that went away needs no page.
        let _ = timeout(REQUEST_MAX, async {
            self.0.write_all(answer.as_bytes()).await?;
            self.0.shutdown().await
        })
        .await;
    }
}

/// What a GET asks for.
async fn target(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > HEAD_OCTETS_MAX || stream.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let line = head.split(|octet| *octet == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    match (words.next(), words.next(), words.next()) {
        (Some("GET"), Some(target), Some(version)) if version.starts_with("HTTP/1.") => Some(target.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(port: u16, request: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut said = String::new();
        let _ = stream.read_to_string(&mut said).await;
        said
    }

    #[tokio::test]
    async fn one_answer_and_what_is_none() {
        let here = Loopback::listen(0).await.unwrap();
        let port = here.port();
        let asks = tokio::spawn(async move {
            assert!(ask(port, "GET /favicon.ico HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 404"));
            assert!(ask(port, "GET /?state=y&error=1 HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 404"));
            assert_eq!(ask(port, "POST /?code=1 HTTP/1.1\r\n\r\n").await, "");
            assert_eq!(ask(port, "\0\r\n\r\n").await, "");
            ask(port, "GET /?state=x&code=1 HTTP/1.1\r\nHost: a\r\n\r\n").await
        });
        let (target, back) = here.answer(|target| target == "/?state=x&code=1").await.unwrap();
        assert_eq!(target, "/?state=x&code=1");
        back.tell(true).await;
        assert!(asks.await.unwrap().contains("Signed in"));
    }
}
