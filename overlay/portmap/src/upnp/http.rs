//! One question by HTTP and its answer.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::time::timeout;

use super::Error;
use super::answer::{Answer, Reading};
use super::url::Url;

/// What a router may take for an answer, from the call to the last byte.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is asked.
#[derive(Clone, Copy)]
pub(crate) enum Question<'a> {
    /// For a document.
    Get,
    /// To do something: what, and an envelope.
    Post { action: &'a str, envelope: &'a str },
}

/// Asks from one's own address. No other place is asked instead, whatever the answer says.
pub(crate) async fn ask(own: Ipv4Addr, url: &Url, question: Question<'_>) -> Result<Answer, Error> {
    timeout(PATIENCE, exchange(own, url, question)).await.map_err(|_| Error::Late)?
}

async fn exchange(own: Ipv4Addr, url: &Url, question: Question<'_>) -> Result<Answer, Error> {
    let socket = TcpSocket::new_v4()?;
    // A router forwards to who asks, so it has to see the address that is told it.
    socket.bind(SocketAddr::from((own, 0)))?;
    let mut stream = socket.connect(url.at.into()).await?;
    // In one piece: some routers read once.
    stream.write_all(written(url, question).as_bytes()).await?;
    let mut reading = Reading::new();
    let mut piece = [0; 4_096];
    loop {
        match stream.read(&mut piece).await? {
            0 => break,
            len if reading.take(&piece[..len])? => break,
            _ => {}
        }
    }
    reading.end()
}

fn written(url: &Url, question: Question<'_>) -> String {
    let Url { at, path } = url;
    match question {
        Question::Get => format!("GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n"),
        Question::Post { action, envelope } => format!(
            "POST {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\nContent-Type: text/xml; charset=\"utf-8\"\r\n\
             SOAPAction: \"{action}\"\r\nContent-Length: {}\r\n\r\n{envelope}",
            envelope.len()
        ),
    }
}
