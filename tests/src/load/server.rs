//! Servers on loopback that a proxy is asked to reach: HTTP with a body of any length, and echo by TCP and UDP.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// Bytes that an HTTP body repeats; long enough that one write is one big system call.
const BLOCK: usize = 256 * 1024;

/// A server on a thread of its own; it stops taking connections when this is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    kind: Kind,
    seen: Arc<Mutex<Vec<Seen>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Stream,
    Datagram,
}

/// What the HTTP server saw of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Where the connection came from: the exit's socket.
    pub from: SocketAddr,
    /// The path asked for.
    pub path: String,
}

impl Server {
    /// An HTTP/1.1 server at a free port of `ip`: `/bytes/N` answers N bytes, `/whoami` the peer's address, anything else `hello`.
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn http(ip: IpAddr) -> io::Result<Server> {
        Server::streams(ip, |stream, seen| {
            // A client that goes away in the middle is not this server's concern.
            let _ = serve_http(stream, &seen);
        })
    }

    /// A TCP server that sends back what it receives.
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn tcp_echo(ip: IpAddr) -> io::Result<Server> {
        Server::streams(ip, |mut stream, _| {
            let mut buffer = [0; 4096];
            while let Ok(length) = stream.read(&mut buffer) {
                if length == 0 || stream.write_all(&buffer[..length]).is_err() {
                    break;
                }
            }
        })
    }

    /// A UDP server that sends every datagram back.
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn udp_echo(ip: IpAddr) -> io::Result<Server> {
        Server::datagrams(ip, |request| Some(request.to_vec()))
    }

    /// A UDP server that answers each datagram with what `answer` makes of it.
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn datagrams(
        ip: IpAddr,
        mut answer: impl FnMut(&[u8]) -> Option<Vec<u8>> + Send + 'static,
    ) -> io::Result<Server> {
        let socket = UdpSocket::bind((ip, 0))?;
        let address = socket.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                if let Some(reply) = answer(&buffer[..length]) {
                    let _ = socket.send_to(&reply, from);
                }
            }
        });
        Ok(Server { address, stop, thread: Some(thread), kind: Kind::Datagram, seen: Arc::default() })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the HTTP server has seen so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn streams(
        ip: IpAddr,
        serve: impl Fn(TcpStream, Arc<Mutex<Vec<Seen>>>) + Send + Sync + 'static,
    ) -> io::Result<Server> {
        let listener = TcpListener::bind((ip, 0))?;
        let address = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (stopped, seen_by_thread) = (Arc::clone(&stop), Arc::clone(&seen));
        let serve = Arc::new(serve);
        let thread = thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let _ = stream.set_nodelay(true);
                let (serve, seen) = (Arc::clone(&serve), Arc::clone(&seen_by_thread));
                thread::spawn(move || serve(stream, seen));
            }
        });
        Ok(Server { address, stop, thread: Some(thread), kind: Kind::Stream, seen })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // One last visitor wakes the thread so that it sees the flag.
        let woken = match self.kind {
            Kind::Stream => TcpStream::connect(self.address).map(drop),
            Kind::Datagram => {
                UdpSocket::bind((self.address.ip(), 0)).and_then(|socket| socket.send_to(&[0], self.address)).map(drop)
            }
        };
        if let (Ok(()), Some(thread)) = (woken, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

/// Answers requests on one connection until the client closes it or asks for `Connection: close`.
///
/// # Errors
/// When the connection breaks.
pub fn answer_http(stream: &mut (impl Read + Write), mut saw: impl FnMut(&str), whoami: &str) -> io::Result<()> {
    loop {
        let mut head = Vec::new();
        let mut byte = [0; 1];
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() > 16 * 1024 || stream.read(&mut byte)? == 0 {
                return Ok(());
            }
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let path = head.split_whitespace().nth(1).unwrap_or("/").to_owned();
        saw(&path);
        let close = head.to_ascii_lowercase().contains("connection: close");
        let text = match path.as_str() {
            "/whoami" => format!("{whoami}\n"),
            _ => "hello\n".to_owned(),
        };
        let length = match path.strip_prefix("/bytes/").map(str::parse::<usize>) {
            Some(Ok(length)) => length,
            Some(Err(_)) | None => text.len(),
        };
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nContent-Type: application/octet-stream\r\n\r\n"
        )?;
        if path.starts_with("/bytes/") {
            let block: Vec<u8> = (0..=250_u8).cycle().take(BLOCK).collect();
            let mut left = length;
            while left > 0 {
                let part = left.min(BLOCK);
                stream.write_all(&block[..part])?;
                left -= part;
            }
        } else {
            stream.write_all(text.as_bytes())?;
        }
        stream.flush()?;
        if close {
            return Ok(());
        }
    }
}

fn serve_http(stream: TcpStream, seen: &Mutex<Vec<Seen>>) -> io::Result<()> {
    let from = stream.peer_addr()?;
    let mut stream = Buffered(BufReader::new(stream));
    answer_http(
        &mut stream,
        |path| {
            seen.lock().unwrap_or_else(PoisonError::into_inner).push(Seen { from, path: path.to_owned() });
        },
        &from.to_string(),
    )
}

/// Reads through a buffer, writes straight.
struct Buffered(BufReader<TcpStream>);

impl Read for Buffered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.0.fill_buf()?;
        let length = available.len().min(buffer.len());
        buffer[..length].copy_from_slice(&available[..length]);
        self.0.consume(length);
        Ok(length)
    }
}

impl Write for Buffered {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.get_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.get_mut().flush()
    }
}
