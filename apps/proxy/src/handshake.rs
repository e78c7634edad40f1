//! From a client's first byte to one accepted request, for both protocols, without input or output.
//!
//! Drive it so: [`Handshake::handle_input`] with what was read, write what [`Handshake::take_output`] gives, and act on
//! the [`Progress`]. After [`Progress::Accepted`] or [`Progress::Refused`] the machine is done.

use std::net::SocketAddr;

use zeroize::Zeroize;

use crate::connector::ConnectError;
use crate::http_connect::{self, CONNECTED, HeadError};
use crate::isolation::Credentials;
use crate::socks5::{self, DecodeError, Greeting, Method, ReplyCode, Request, encode_reply};
use crate::target::{Name, Target};

pub use crate::socks5::Command;

/// The protocol that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// SOCKS5.
    Socks5,
    /// HTTP CONNECT.
    Http,
}

/// A request to carry out. Answer it by one of the `encode_*` methods.
#[derive(Debug)]
pub struct Accepted {
    /// How to answer.
    pub protocol: Protocol,
    /// What to do.
    pub command: Command,
    /// With whom.
    pub target: Target,
    /// What chooses the isolation token.
    pub credentials: Option<Credentials>,
    /// Bytes that arrived after the request: the first of the stream.
    pub early: Vec<u8>,
    /// The client named a host by its address, and so may look names up outside the circuit.
    pub names_an_address: bool,
}

impl Accepted {
    /// The answer to success: `bound` is the relay's address for UDP ASSOCIATE, the result for RESOLVE.
    #[must_use]
    pub fn encode_success(&self, bound: Option<SocketAddr>) -> Vec<u8> {
        match self.protocol {
            Protocol::Socks5 => encode_reply(ReplyCode::Succeeded, bound),
            Protocol::Http => CONNECTED.to_vec(),
        }
    }

    /// The answer to RESOLVE_PTR.
    #[must_use]
    pub fn encode_name(&self, name: &Name) -> Vec<u8> {
        socks5::encode_name_reply(name)
    }

    /// The answer to failure.
    #[must_use]
    pub fn encode_failure(&self, error: ConnectError) -> Vec<u8> {
        match self.protocol {
            Protocol::Socks5 => encode_reply(error.into(), None),
            Protocol::Http => http_connect::encode_connect_error(error),
        }
    }
}

/// Why a client was sent away. The answer to it, if there is one, is in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// SOCKS4 or SOCKS4a.
    #[error(
        "SOCKS4 is not spoken here: its clients look names up outside the circuit; use SOCKS5 with remote names (socks5h://)"
    )]
    Socks4,
    /// TLS to the proxy itself.
    #[error("the client speaks TLS to the proxy itself; give the proxy as http:// or socks5h://, not https://")]
    Tls,
    /// Something else altogether.
    #[error("neither SOCKS5 nor HTTP")]
    Unknown,
    /// A SOCKS5 client without a method that is offered here.
    #[error("the client offers no authentication method that is known here")]
    Method,
    /// A SOCKS5 message that is wrong.
    #[error(transparent)]
    Socks5(#[from] DecodeError),
    /// An HTTP request that is wrong.
    #[error(transparent)]
    Http(#[from] HeadError),
}

/// How far the handshake is.
#[derive(Debug)]
pub enum Progress {
    /// Write the output, read more.
    More,
    /// Write the output, then carry this out.
    Accepted(Box<Accepted>),
    /// Write the output, then close.
    Refused(Refusal),
}

enum State {
    FirstByte,
    Password,
    Request(Option<Credentials>),
    Http,
    Done,
}

/// The machine. Memory is bounded by the longest head plus one read.
pub struct Handshake {
    state: State,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Default for Handshake {
    fn default() -> Handshake {
        Handshake::new()
    }
}

impl Handshake {
    /// A machine that waits for the first byte.
    #[must_use]
    pub fn new() -> Handshake {
        Handshake { state: State::FirstByte, input: Vec::new(), output: Vec::new() }
    }

    /// Takes bytes in. After the end of the handshake it does nothing and says [`Progress::More`].
    pub fn handle_input(&mut self, bytes: &[u8]) -> Progress {
        if matches!(self.state, State::Done) {
            return Progress::More;
        }
        self.input.extend_from_slice(bytes);
        match self.advance() {
            Ok(None) => Progress::More,
            Ok(Some(accepted)) => {
                self.state = State::Done;
                Progress::Accepted(Box::new(accepted))
            }
            Err(refusal) => {
                self.state = State::Done;
                self.input.zeroize();
                Progress::Refused(refusal)
            }
        }
    }

    /// What to write to the client now.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    fn advance(&mut self) -> Result<Option<Accepted>, Refusal> {
        loop {
            match &mut self.state {
                State::FirstByte => match self.input.first() {
                    None => return Ok(None),
                    Some(&socks5::VERSION) => {
                        let Some(greeting) = Greeting::decode(&self.input)? else {
                            return Ok(None);
                        };
                        self.consume(greeting.used);
                        let choice = greeting.value.choose();
                        self.output.extend_from_slice(&Method::encode(choice));
                        self.state = match choice.ok_or(Refusal::Method)? {
                            Method::Password => State::Password,
                            Method::None => State::Request(None),
                        };
                    }
                    Some(&socks5::VERSION_4) => {
                        self.output.extend_from_slice(&socks5::SOCKS4_REFUSED);
                        return Err(Refusal::Socks4);
                    }
                    Some(0x16) => return Err(Refusal::Tls),
                    Some(b'A'..=b'Z') => self.state = State::Http,
                    Some(_) => return Err(Refusal::Unknown),
                },
                State::Password => {
                    let Some(password) = socks5::decode_password(&self.input)? else {
                        return Ok(None);
                    };
                    self.consume(password.used);
                    self.output.extend_from_slice(&socks5::encode_password_accepted());
                    self.state = State::Request(Some(password.value));
                }
                State::Request(credentials) => {
                    let parsed = match Request::decode(&self.input) {
                        Ok(Some(parsed)) => parsed,
                        Ok(None) => return Ok(None),
                        Err(error) => {
                            self.output.extend_from_slice(&encode_reply(error.into(), None));
                            return Err(error.into());
                        }
                    };
                    let credentials = credentials.take();
                    self.consume(parsed.used);
                    let names_an_address = parsed.value.names_an_address();
                    let Request { command, target } = parsed.value;
                    return Ok(Some(Accepted {
                        protocol: Protocol::Socks5,
                        command,
                        target,
                        credentials,
                        early: std::mem::take(&mut self.input),
                        names_an_address,
                    }));
                }
                State::Http => {
                    let parsed = match http_connect::decode(&self.input) {
                        Ok(Some(parsed)) => parsed,
                        Ok(None) => return Ok(None),
                        Err(error) => {
                            self.output.extend_from_slice(&http_connect::encode_refusal(error));
                            return Err(error.into());
                        }
                    };
                    self.consume(parsed.used);
                    let names_an_address = matches!(parsed.value.target.host, crate::target::Host::Ip(_));
                    return Ok(Some(Accepted {
                        protocol: Protocol::Http,
                        command: Command::Connect,
                        target: parsed.value.target,
                        credentials: parsed.value.credentials,
                        early: std::mem::take(&mut self.input),
                        names_an_address,
                    }));
                }
                State::Done => return Ok(None),
            }
        }
    }

    /// Removes bytes from the front and erases where they stood: they may have been a password.
    fn consume(&mut self, used: usize) {
        let left = self.input.len() - used;
        self.input.copy_within(used.., 0);
        self.input[left..].zeroize();
        self.input.truncate(left);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds `input` in pieces of `size`; gives the output and how it ended.
    fn run(input: &[u8], size: usize) -> (Vec<u8>, Result<Option<Accepted>, Refusal>) {
        let mut handshake = Handshake::new();
        let mut output = Vec::new();
        let mut rest = input;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(size.min(rest.len()));
            rest = after;
            let progress = handshake.handle_input(piece);
            output.extend(handshake.take_output());
            match progress {
                Progress::More => {}
                Progress::Accepted(mut accepted) => {
                    accepted.early.extend_from_slice(rest);
                    return (output, Ok(Some(*accepted)));
                }
                Progress::Refused(refusal) => return (output, Err(refusal)),
            }
        }
        (output, Ok(None))
    }

    #[test]
    fn socks5_with_password_and_early_data() {
        let input = b"\x05\x02\x00\x02\x01\x01u\x01p\x05\x01\x00\x03\x01a\x00\x50GET /";
        for size in 1..=input.len() {
            let (output, end) = run(input, size);
            let accepted = end.expect("fine").expect("complete");
            assert_eq!(output, [5, 2, 1, 0]);
            assert_eq!(accepted.early, b"GET /");
            assert_eq!(accepted.credentials, Some(Credentials::new(b"u", b"p")));
            assert_eq!((accepted.protocol, accepted.command), (Protocol::Socks5, Command::Connect));
        }
    }

    #[test]
    fn http_and_socks_credentials_are_equal() {
        let http = run(b"CONNECT a:80 HTTP/1.1\r\nProxy-Authorization: Basic dTpw\r\n\r\n", 7).1;
        let accepted = http.expect("fine").expect("complete");
        assert_eq!(accepted.credentials, Some(Credentials::new(b"u", b"p")));
    }

    #[test]
    fn others_are_sent_away() {
        assert_eq!(run(b"\x04\x01\x00\x50\x7f\x00\x00\x01u\0", 99).1.expect_err("refused"), Refusal::Socks4);
        assert_eq!(run(b"\x04", 1).0, socks5::SOCKS4_REFUSED);
        assert_eq!(run(b"\x16\x03\x01", 99).1.expect_err("refused"), Refusal::Tls);
        assert_eq!(run(b"\0", 99).1.expect_err("refused"), Refusal::Unknown);
        assert_eq!(run(b"\x05\x01\x01", 99), (vec![5, 0xff], Err(Refusal::Method)));
        let (output, end) = run(b"\x05\x01\x00\x05\x02\x00", 1);
        assert_eq!(end.expect_err("refused"), Refusal::Socks5(DecodeError::Command));
        assert_eq!(output[2..4], [5, 7]);
        assert!(run(b"GET / HTTP/1.1\r\n\r\n", 3).0.starts_with(b"HTTP/1.1 405"));
    }

    impl PartialEq for Accepted {
        fn eq(&self, other: &Accepted) -> bool {
            (self.protocol, self.command, &self.target, &self.credentials, &self.early)
                == (other.protocol, other.command, &other.target, &other.credentials, &other.early)
        }
    }

    fn opening() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            Just(Vec::new()),
            Just(b"\x05\x01\x00".to_vec()),
            Just(b"\x05\x02\x00\x02\x01\x01u\x01p".to_vec()),
            Just(b"\x05\x01\x00\x05\x01\x00\x03".to_vec()),
            Just(b"CONNECT a:1 HTTP/1.1\r\n".to_vec()),
        ]
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            opening in opening(),
            rest in prop::collection::vec(any::<u8>(), 0..64),
            size in 1usize..16,
        ) {
            let input = [opening, rest].concat();
            prop_assert_eq!(run(&input, size), run(&input, input.len().max(1)));
        }
    }
}
