//! Clients that measure: downloads, echoes at a steady rate, and the time to the first byte.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Samples;
use super::socks::{Socks, SocksUdp};

/// An echo message: a number and padding, about the size of a voice frame.
const ECHO_LEN: usize = 160;

/// How long the last echo may be late.
const LAST_ECHO: Duration = Duration::from_secs(2);

/// A finished download.
#[derive(Debug, Clone, Copy)]
pub struct Download {
    /// Bytes of body received.
    pub bytes: u64,
    /// From the request to the last byte.
    pub took: Duration,
}

impl Download {
    /// Millions of bytes a second.
    #[must_use]
    pub fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / self.took.as_secs_f64() / 1e6
    }
}

/// Downloads `bytes` from the HTTP server at `target` through `socks`.
///
/// # Errors
/// When the proxy or server fails, or the body ends early.
pub fn download(socks: &Socks, target: SocketAddr, bytes: u64) -> io::Result<Download> {
    let mut stream = socks.connect(target)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let begun = Instant::now();
    request(&mut stream, target, bytes)?;
    let received = read_body(&mut stream, |_| true)?;
    if received != bytes {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{received} of {bytes} bytes arrived")));
    }
    Ok(Download { bytes, took: begun.elapsed() })
}

/// A download that goes on until it is stopped, one request after the other.
#[derive(Debug)]
pub struct Saturation {
    stop: Arc<AtomicBool>,
    bytes: Arc<AtomicU64>,
    begun: Instant,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Saturation {
    /// Begins; the download runs on a thread of its own.
    #[must_use]
    pub fn start(socks: Socks, target: SocketAddr) -> Saturation {
        let stop = Arc::new(AtomicBool::new(false));
        let bytes = Arc::new(AtomicU64::new(0));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&bytes));
        let thread = thread::spawn(move || {
            let mut refusals = 0;
            while !stopped.load(Ordering::Relaxed) {
                let mut stream = match socks.connect(target) {
                    Ok(stream) => stream,
                    Err(_) if refusals < 3 => {
                        refusals += 1;
                        thread::sleep(Duration::from_millis(500));
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                stream.set_read_timeout(Some(Duration::from_secs(10)))?;
                request(&mut stream, target, 1 << 34)?;
                read_body(&mut stream, |length| {
                    counted.fetch_add(length as u64, Ordering::Relaxed);
                    !stopped.load(Ordering::Relaxed)
                })?;
            }
            Ok(())
        });
        Saturation { stop, bytes, begun: Instant::now(), thread: Some(thread) }
    }

    /// Bytes received so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Ends it and says what went through.
    ///
    /// # Errors
    /// When the download broke.
    pub fn stop(mut self) -> io::Result<Download> {
        self.stop.store(true, Ordering::Relaxed);
        let download = Download { bytes: self.bytes(), took: self.begun.elapsed() };
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome.map(|()| download),
            _ => Err(io::Error::other("the download thread failed")),
        }
    }
}

impl Drop for Saturation {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Echoes that were sent at a steady rate.
#[derive(Debug, Clone)]
pub struct Echoes {
    /// How many were sent.
    pub sent: usize,
    /// Round-trip times of those that came back.
    pub round_trips: Samples,
}

impl Echoes {
    /// How many never came back, as a fraction of those sent.
    #[must_use]
    pub fn lost(&self) -> f64 {
        1.0 - self.round_trips.len() as f64 / self.sent.max(1) as f64
    }
}

/// Sends `count` messages, one every `interval`, over a TCP connection through `socks` to an echo server.
///
/// # Errors
/// When the connection breaks.
pub fn tcp_echoes(socks: &Socks, target: SocketAddr, count: usize, interval: Duration) -> io::Result<Echoes> {
    let stream = socks.connect(target)?;
    let mut reader = stream.try_clone()?;
    reader.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut writer = stream;
    let epoch = Instant::now();
    let receiver = thread::spawn(move || {
        let mut round_trips = Vec::with_capacity(count);
        let mut message = [0; ECHO_LEN];
        for _ in 0..count {
            reader.read_exact(&mut message)?;
            round_trips.push(age(&message, epoch));
        }
        io::Result::Ok(round_trips)
    });
    pace(count, interval, |_| writer.write_all(&stamped(epoch)))?;
    let round_trips = receiver.join().map_err(|_| io::Error::other("the receiving thread failed"))??;
    Ok(Echoes { sent: count, round_trips: Samples::new(round_trips) })
}

/// Sends `count` datagrams, one every `interval`, through a UDP association to an echo server.
///
/// # Errors
/// When the association breaks.
pub fn udp_echoes(udp: &SocksUdp, target: SocketAddr, count: usize, interval: Duration) -> io::Result<Echoes> {
    let epoch = Instant::now();
    let incoming = udp.try_clone()?;
    let receiver = thread::spawn(move || {
        let mut round_trips = Vec::with_capacity(count);
        while round_trips.len() < count {
            let Ok((message, _)) = incoming.recv_from(LAST_ECHO) else {
                break;
            };
            round_trips.push(age(&message, epoch));
        }
        round_trips
    });
    pace(count, interval, |_| udp.send_to(&stamped(epoch), target))?;
    let round_trips = receiver.join().map_err(|_| io::Error::other("the receiving thread failed"))?;
    Ok(Echoes { sent: count, round_trips: Samples::new(round_trips) })
}

/// Repeats [`first_byte`] until it works, so that what follows does not measure a start.
///
/// # Errors
/// What failed last, when it did not work within `patience`.
pub fn warm_up(socks: &Socks, target: SocketAddr, patience: Duration) -> io::Result<()> {
    let until = Instant::now() + patience;
    loop {
        match first_byte(socks, target) {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > until => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(200)),
        }
    }
}

/// From the first word to the proxy until the first byte of the server's answer.
///
/// # Errors
/// When the proxy or server fails.
pub fn first_byte(socks: &Socks, target: SocketAddr) -> io::Result<Duration> {
    let begun = Instant::now();
    let mut stream = socks.connect(target)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    request(&mut stream, target, 1)?;
    stream.read_exact(&mut [0])?;
    Ok(begun.elapsed())
}

fn request(stream: &mut TcpStream, target: SocketAddr, bytes: u64) -> io::Result<()> {
    stream.write_all(format!("GET /bytes/{bytes} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n").as_bytes())
}

/// Reads an HTTP answer to its end and counts the bytes of its body; `more` is told of each part and may end it.
fn read_body(stream: &mut TcpStream, mut more: impl FnMut(usize) -> bool) -> io::Result<u64> {
    let mut buffer = vec![0; 256 * 1024];
    let mut head = Vec::new();
    let mut body = 0_u64;
    let mut in_body = false;
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Ok(body);
        }
        let mut part = length;
        if !in_body {
            head.extend_from_slice(&buffer[..length]);
            let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") else {
                continue;
            };
            in_body = true;
            part = head.len() - end - 4;
        }
        body += part as u64;
        if !more(part) {
            return Ok(body);
        }
    }
}

fn pace(count: usize, interval: Duration, mut send: impl FnMut(usize) -> io::Result<()>) -> io::Result<()> {
    let mut due = Instant::now();
    for i in 0..count {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        send(i)?;
        due += interval;
    }
    Ok(())
}

fn stamped(epoch: Instant) -> [u8; ECHO_LEN] {
    let mut message = [0; ECHO_LEN];
    let nanos = u64::try_from(epoch.elapsed().as_nanos()).unwrap_or(u64::MAX);
    message[..8].copy_from_slice(&nanos.to_be_bytes());
    message
}

fn age(message: &[u8], epoch: Instant) -> Duration {
    let mut stamp = [0; 8];
    stamp.copy_from_slice(&message[..8]);
    epoch.elapsed().saturating_sub(Duration::from_nanos(u64::from_be_bytes(stamp)))
}
