//! Status lines and short texts.

use super::HeadError;
use crate::connector::ConnectError;

/// The tunnel stands; what follows is the tunnel's.
pub const CONNECTED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// The answer to a head that was refused.
#[must_use]
pub fn encode_refusal(error: HeadError) -> Vec<u8> {
    let (status, extra) = match error {
        HeadError::TooLarge => ("431 Request Header Fields Too Large", ""),
        HeadError::Version => ("505 HTTP Version Not Supported", ""),
        HeadError::PlainProxyRequest => ("501 Not Implemented", ""),
        HeadError::NotAWebServer => ("405 Method Not Allowed", "Allow: CONNECT\r\n"),
        HeadError::Scheme => {
            ("407 Proxy Authentication Required", "Proxy-Authenticate: Basic realm=\"zMesh circuits\"\r\n")
        }
        HeadError::Malformed | HeadError::Authority | HeadError::Authorization | HeadError::Body => {
            ("400 Bad Request", "")
        }
    };
    encode(status, extra, &error.to_string())
}

/// The answer when the target was not reached.
#[must_use]
pub fn encode_connect_error(error: ConnectError) -> Vec<u8> {
    let status = match error {
        ConnectError::Policy => "403 Forbidden",
        ConnectError::Timeout => "504 Gateway Timeout",
        ConnectError::NoCircuit | ConnectError::Quota => "503 Service Unavailable",
        ConnectError::Unsupported => "501 Not Implemented",
        ConnectError::NameNotFound
        | ConnectError::NetworkUnreachable
        | ConnectError::HostUnreachable
        | ConnectError::Refused
        | ConnectError::Closed => "502 Bad Gateway",
    };
    encode(status, "", &error.to_string())
}

fn encode(status: &str, extra: &str, text: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n{extra}\r\nzMesh: {text}\n",
        "zMesh: ".len() + text.len() + 1
    )
    .into_bytes()
}
