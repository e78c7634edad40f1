//! HTTP CONNECT (RFC 9110 §9.3.6): the head of a request to a target, and answers.
//!
//! The decoder is total and keeps no state, like those of [`crate::socks5`]. It is strict: a head that different
//! programs might read differently is refused.

mod answer;
#[cfg(test)]
mod tests;

pub use answer::{CONNECTED, encode_connect_error, encode_refusal};

use data_encoding::BASE64;
use zeroize::Zeroizing;

use crate::isolation::Credentials;
use crate::socks5::Parsed;
use crate::target::{Host, Target};

/// The longest head (request line and header fields), in bytes.
pub const MAX_HEAD: usize = 8 * 1024;
/// The most header fields.
pub const MAX_FIELDS: usize = 100;

/// A CONNECT request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// The target in the request line.
    pub target: Target,
    /// From `Proxy-Authorization: Basic`, used for isolation only.
    pub credentials: Option<Credentials>,
}

/// Why a head is not an acceptable CONNECT request. Each has a status code and a text of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadError {
    /// Not HTTP.
    #[error("the request is malformed")]
    Malformed,
    /// The head is longer than [`MAX_HEAD`] or has more than [`MAX_FIELDS`] fields.
    #[error("the request's header is too large (limit 8 kB, 100 fields)")]
    TooLarge,
    /// HTTP/2 or something later.
    #[error("only HTTP/1.0 and HTTP/1.1 are spoken here")]
    Version,
    /// A request with a whole URL, as programs send for `http://` through a proxy.
    #[error(
        "this proxy tunnels (CONNECT) and does not fetch http:// pages itself; \
         use it as socks5h://, or make the program tunnel (curl: --proxytunnel)"
    )]
    PlainProxyRequest,
    /// A request for a page of this port itself.
    #[error("this is the zMesh proxy, not a web server; set it as SOCKS5 or HTTP proxy in your program")]
    NotAWebServer,
    /// The target of CONNECT is not `host:port`.
    #[error("CONNECT needs host:port, an IPv6 address in square brackets")]
    Authority,
    /// `Proxy-Authorization` is not a well-formed Basic value, or is there twice.
    #[error("Proxy-Authorization must be one well-formed Basic value")]
    Authorization,
    /// A `Proxy-Authorization` scheme other than Basic.
    #[error("Proxy-Authorization must be Basic; user name and password choose the circuit, any will do")]
    Scheme,
    /// CONNECT with a body.
    #[error("CONNECT must not have a body")]
    Body,
}

/// Reads the head at the front of `input`: an error, `None` when more bytes are needed, or the request and its length.
/// Bytes after the head belong to the tunnel.
///
/// # Errors
/// [`HeadError`]; most need the whole head, so that the client is ready to read the answer.
pub fn decode(input: &[u8]) -> Result<Option<Parsed<Connect>>, HeadError> {
    let window = &input[..input.len().min(MAX_HEAD)];
    let Some(end) = head_end(window)? else {
        return if input.len() >= MAX_HEAD { Err(HeadError::TooLarge) } else { Ok(None) };
    };
    let head = &window[..end];
    let mut lines = head.split(|&b| b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let target = request_line(lines.next().unwrap_or_default())?;
    let mut credentials = None;
    let mut fields = 0;
    for line in lines.take_while(|line| !line.is_empty()) {
        fields += 1;
        if fields > MAX_FIELDS {
            return Err(HeadError::TooLarge);
        }
        field(line, &mut credentials)?;
    }
    Ok(Some(Parsed { value: Connect { target, credentials }, used: end }))
}

/// The length of the head including its empty line. Refuses bytes that no head has.
fn head_end(window: &[u8]) -> Result<Option<usize>, HeadError> {
    let mut line_start = 0;
    for (at, &byte) in window.iter().enumerate() {
        match byte {
            b'\n' if at == 0 || window[at - 1] != b'\r' => return Err(HeadError::Malformed),
            b'\n' if at == line_start + 1 => {
                // An empty line ends the head; one in front of the request line is not accepted.
                return if line_start == 0 { Err(HeadError::Malformed) } else { Ok(Some(at + 1)) };
            }
            b'\n' => line_start = at + 1,
            _ if at > 0 && window[at - 1] == b'\r' => return Err(HeadError::Malformed),
            b'\r' | b'\t' | 0x20..=0x7e | 0x80..=0xff => {}
            _ => return Err(HeadError::Malformed),
        }
    }
    Ok(None)
}

fn request_line(line: &[u8]) -> Result<Target, HeadError> {
    let mut words = line.split(|&b| b == b' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(HeadError::Malformed);
    };
    if method.is_empty() || !method.iter().all(|&b| is_token(b)) || target.is_empty() {
        return Err(HeadError::Malformed);
    }
    match version {
        b"HTTP/1.1" | b"HTTP/1.0" => {}
        _ if version.starts_with(b"HTTP/") => return Err(HeadError::Version),
        _ => return Err(HeadError::Malformed),
    }
    if method != b"CONNECT" {
        let is_path = target[0] == b'/' || target == b"*";
        return Err(if is_path { HeadError::NotAWebServer } else { HeadError::PlainProxyRequest });
    }
    authority(target).ok_or(HeadError::Authority)
}

/// `host:port`, and nothing else: no user, no path, no default port.
fn authority(text: &[u8]) -> Option<Target> {
    let colon = text.iter().rposition(|&b| b == b':')?;
    let (host, port) = (&text[..colon], &text[colon + 1..]);
    if port.is_empty() || port.len() > 5 || !port.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let port: u16 = std::str::from_utf8(port).ok()?.parse().ok()?;
    if port == 0 || (host.contains(&b':') && host.first() != Some(&b'[')) {
        return None;
    }
    Some(Target { host: Host::parse(host)?, port })
}

fn field(line: &[u8], credentials: &mut Option<Credentials>) -> Result<(), HeadError> {
    let colon = line.iter().position(|&b| b == b':').ok_or(HeadError::Malformed)?;
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    if name.is_empty() || !name.iter().all(|&b| is_token(b)) {
        return Err(HeadError::Malformed);
    }
    if name.eq_ignore_ascii_case(b"proxy-authorization") {
        if credentials.is_some() {
            return Err(HeadError::Authorization);
        }
        *credentials = Some(basic(value)?);
    } else if name.eq_ignore_ascii_case(b"transfer-encoding")
        || (name.eq_ignore_ascii_case(b"content-length") && !value.iter().all(|&b| b == b'0'))
    {
        return Err(HeadError::Body);
    }
    Ok(())
}

/// RFC 7617: `Basic` and base64 of `user:password`.
fn basic(value: &[u8]) -> Result<Credentials, HeadError> {
    let space = value.iter().position(|&b| b == b' ').ok_or(HeadError::Authorization)?;
    let (scheme, encoded) = (&value[..space], value[space..].trim_ascii());
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return Err(HeadError::Scheme);
    }
    let decoded = Zeroizing::new(BASE64.decode(encoded).map_err(|_| HeadError::Authorization)?);
    let colon = decoded.iter().position(|&b| b == b':').ok_or(HeadError::Authorization)?;
    Ok(Credentials::new(&decoded[..colon], &decoded[colon + 1..]))
}

/// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
