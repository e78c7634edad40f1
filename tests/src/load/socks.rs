//! A blocking SOCKS5 client (RFC 1928, RFC 1929), written for measurements: it works the same with tor's port and with ours.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

const CONNECT: u8 = 1;
const UDP_ASSOCIATE: u8 = 3;

/// How long any one answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A SOCKS5 server and the isolation token to show it.
#[derive(Debug, Clone)]
pub struct Socks {
    server: SocketAddr,
    token: Option<String>,
}

impl Socks {
    /// The server at this address, without user name.
    #[must_use]
    pub fn new(server: SocketAddr) -> Socks {
        Socks { server, token: None }
    }

    /// The same server with a user name and password, which isolates.
    #[must_use]
    pub fn isolated(&self, token: &str) -> Socks {
        Socks { server: self.server, token: Some(token.to_owned()) }
    }

    /// Connects to `target` through the server.
    ///
    /// # Errors
    /// When the server cannot be reached, refuses, or does not answer in 20 seconds.
    pub fn connect(&self, target: SocketAddr) -> io::Result<TcpStream> {
        let mut stream = self.greet()?;
        request(&mut stream, CONNECT, target)?;
        stream.set_read_timeout(None)?;
        Ok(stream)
    }

    /// Opens a UDP association.
    ///
    /// # Errors
    /// When the server cannot be reached, refuses (tor always does), or does not answer in 20 seconds.
    pub fn bind_udp(&self) -> io::Result<SocksUdp> {
        let mut control = self.greet()?;
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let mut relay = request(&mut control, UDP_ASSOCIATE, any)?;
        if relay.ip().is_unspecified() {
            relay.set_ip(self.server.ip());
        }
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(relay)?;
        Ok(SocksUdp { control, socket })
    }

    fn greet(&self) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect_timeout(&self.server, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let method = if self.token.is_some() { 2 } else { 0 };
        stream.write_all(&[5, 1, method])?;
        let mut chosen = [0; 2];
        stream.read_exact(&mut chosen)?;
        if chosen != [5, method] {
            return Err(io::Error::other(format!("SOCKS server answered {chosen:?}")));
        }
        if let Some(token) = &self.token {
            let length = u8::try_from(token.len()).map_err(io::Error::other)?;
            let mut message = vec![1, length];
            message.extend_from_slice(token.as_bytes());
            message.extend_from_slice(&[1, b'x']);
            stream.write_all(&message)?;
            let mut answer = [0; 2];
            stream.read_exact(&mut answer)?;
            if answer[1] != 0 {
                return Err(io::Error::other("SOCKS server refused the user name"));
            }
        }
        Ok(stream)
    }
}

/// A UDP association; it ends when this is dropped.
#[derive(Debug)]
pub struct SocksUdp {
    #[allow(dead_code, reason = "the association lives as long as its TCP connection")]
    control: TcpStream,
    socket: UdpSocket,
}

impl SocksUdp {
    /// Sends one datagram to `target`.
    ///
    /// # Errors
    /// As the system says.
    pub fn send_to(&self, payload: &[u8], target: SocketAddr) -> io::Result<()> {
        let mut datagram = vec![0, 0, 0];
        push_address(&mut datagram, target);
        datagram.extend_from_slice(payload);
        self.socket.send(&datagram).map(drop)
    }

    /// Receives one datagram, waiting no longer than `patience`.
    ///
    /// # Errors
    /// `WouldBlock` or `TimedOut` when nothing came; `InvalidData` when the header is not SOCKS5's.
    pub fn recv_from(&self, patience: Duration) -> io::Result<(Vec<u8>, SocketAddr)> {
        self.socket.set_read_timeout(Some(patience))?;
        let mut buffer = [0; 2048];
        let length = self.socket.recv(&mut buffer)?;
        let datagram = &buffer[..length];
        let malformed = || io::Error::from(io::ErrorKind::InvalidData);
        let address_len = match datagram.get(3) {
            Some(1) => 6,
            Some(4) => 18,
            _ => return Err(malformed()),
        };
        let rest = datagram.get(4..).ok_or_else(malformed)?;
        let (address, payload) = rest.split_at_checked(address_len).ok_or_else(malformed)?;
        Ok((payload.to_vec(), parse_address(address)))
    }

    /// A second handle of the same association, for another thread.
    ///
    /// # Errors
    /// As the system says.
    pub fn try_clone(&self) -> io::Result<SocksUdp> {
        Ok(SocksUdp { control: self.control.try_clone()?, socket: self.socket.try_clone()? })
    }
}

fn request(stream: &mut TcpStream, command: u8, target: SocketAddr) -> io::Result<SocketAddr> {
    let mut message = vec![5, command, 0];
    push_address(&mut message, target);
    stream.write_all(&message)?;
    let mut head = [0; 4];
    stream.read_exact(&mut head)?;
    if head[1] != 0 {
        return Err(io::Error::other(format!("SOCKS reply code {}", head[1])));
    }
    let mut address = vec![0; if head[3] == 4 { 18 } else { 6 }];
    stream.read_exact(&mut address)?;
    Ok(parse_address(&address))
}

fn push_address(message: &mut Vec<u8>, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => {
            message.push(1);
            message.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            message.push(4);
            message.extend_from_slice(&ip.octets());
        }
    }
    message.extend_from_slice(&address.port().to_be_bytes());
}

/// `bytes` is 6 bytes of IPv4 address and port, or 18 of IPv6.
fn parse_address(bytes: &[u8]) -> SocketAddr {
    let (ip, port) = bytes.split_at(bytes.len() - 2);
    let ip: IpAddr = match <[u8; 4]>::try_from(ip) {
        Ok(v4) => Ipv4Addr::from(v4).into(),
        Err(_) => <[u8; 16]>::try_from(ip).map_or(Ipv6Addr::UNSPECIFIED, Ipv6Addr::from).into(),
    };
    SocketAddr::new(ip, u16::from_be_bytes([port[0], port[1]]))
}
