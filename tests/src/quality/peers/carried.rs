//! A call carried by TCP: our own voice application, but its messages go through one byte stream instead of a circuit.
//!
//! Both people connect, each through Tor, to a server that joins their two streams, as our meeting relay splices two circuits. So codec,
//! redundancy and jitter buffer are ours, and only what carries the messages differs.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use zmesh_voice::runner::{DatagramTransport, TransportError};

use crate::load::socks::Socks;

/// Messages that may wait for the stream: one second of a call. What comes then is dropped, as it would come too late.
const WAITING: usize = 50;
/// What the server says when both are there.
const JOINED: u8 = b'!';
/// Longest message.
const LONGEST: usize = 4_096;

/// Joins the streams of the first two that connect to `listener`, and ends when one of them ends.
///
/// # Errors
/// When a connection fails before both are there.
pub fn join_two(listener: &std::net::TcpListener) -> std::io::Result<()> {
    let (first, _) = listener.accept()?;
    let (second, _) = listener.accept()?;
    for mut stream in [&first, &second] {
        stream.set_nodelay(true)?;
        stream.write_all(&[JOINED])?;
    }
    let (back_from, back_to) = (second.try_clone()?, first.try_clone()?);
    let back = std::thread::spawn(move || copy(back_from, back_to));
    copy(first, second);
    let _ = back.join();
    Ok(())
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 16_384];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

/// Messages over a stream: each behind its length.
#[derive(Debug)]
pub struct Stream {
    incoming: tokio::sync::Mutex<mpsc::Receiver<Vec<u8>>>,
    joined: Mutex<Option<tokio::sync::oneshot::Receiver<()>>>,
    outgoing: mpsc::Sender<Vec<u8>>,
}

impl Stream {
    /// Connects to `server` through `socks`. Must run inside a tokio runtime; blocks while it connects.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub fn connect(socks: SocketAddr, server: SocketAddr) -> std::io::Result<Stream> {
        let stream = Socks::new(socks).connect(server)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let (from, to) = tokio::net::TcpStream::from_std(stream)?.into_split();
        let (outgoing, waiting) = mpsc::channel(WAITING);
        let (arrived, incoming) = mpsc::channel(10 * WAITING);
        let (is_joined, joined) = tokio::sync::oneshot::channel();
        tokio::spawn(write(to, waiting));
        tokio::spawn(read(from, arrived, is_joined));
        Ok(Stream { incoming: tokio::sync::Mutex::new(incoming), joined: Mutex::new(Some(joined)), outgoing })
    }
}

async fn write(mut to: OwnedWriteHalf, mut waiting: mpsc::Receiver<Vec<u8>>) {
    while let Some(message) = waiting.recv().await {
        let Ok(length) = u16::try_from(message.len()) else { continue };
        let framed = [&length.to_be_bytes()[..], &message].concat();
        if to.write_all(&framed).await.is_err() {
            break;
        }
    }
}

async fn read(mut from: OwnedReadHalf, arrived: mpsc::Sender<Vec<u8>>, joined: tokio::sync::oneshot::Sender<()>) {
    if from.read_u8().await.is_ok_and(|said| said == JOINED) {
        let _ = joined.send(());
    }
    while let Ok(length) = from.read_u16().await {
        let mut message = vec![0; usize::from(length)];
        if usize::from(length) > LONGEST || from.read_exact(&mut message).await.is_err() {
            break;
        }
        if arrived.send(message).await.is_err() {
            break;
        }
    }
}

fn gone() -> TransportError {
    TransportError("the stream has ended".to_owned())
}

impl DatagramTransport for Stream {
    async fn joined(&self) -> Result<(), TransportError> {
        let joined = self.joined.lock().unwrap_or_else(PoisonError::into_inner).take();
        match joined {
            Some(joined) => joined.await.map_err(|_| gone()),
            None => Ok(()),
        }
    }

    fn send(&self, message: &[u8]) -> Result<(), TransportError> {
        match self.outgoing.try_send(message.to_vec()) {
            Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(gone()),
        }
    }

    async fn recv(&self) -> Result<Vec<u8>, TransportError> {
        self.incoming.lock().await.recv().await.ok_or_else(gone)
    }
}

/// How long the two wait for each other at the server.
pub const JOIN_WITHIN: Duration = Duration::from_secs(60);
