//! TCP: connecting to one of several addresses, and metering what flows.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep_until, timeout};
use zmesh_overlay::egress::EgressError;

use super::failure;
use crate::quota::Permit;

/// Head start of an address over the next (RFC 8305 recommends 250 ms).
const STAGGER: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried at all.
const ATTEMPTS_MAX: usize = 6;

/// Connects to the first address that answers: one after the other with a head start each, both families in turn
/// (RFC 8305). All addresses have been judged; no name is resolved here.
///
/// # Cancel safety
/// Dropping the future drops all attempts.
pub(super) async fn connect(addresses: Vec<SocketAddr>, limit: Duration) -> Result<TcpStream, EgressError> {
    timeout(limit, race(in_turn(addresses))).await.unwrap_or(Err(EgressError::Timeout))
}

async fn race(mut waiting: VecDeque<SocketAddr>) -> Result<TcpStream, EgressError> {
    let mut attempts = JoinSet::new();
    let mut outcome = EgressError::Unreachable;
    loop {
        match waiting.pop_front() {
            Some(address) => drop(attempts.spawn(TcpStream::connect(address))),
            None if attempts.is_empty() => return Err(outcome),
            None => {}
        }
        let next = async {
            if waiting.is_empty() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(STAGGER).await;
        };
        tokio::select! {
            Some(done) = attempts.join_next() => match done {
                Ok(Ok(stream)) => {
                    // Requests come whole from QUIC: holding a small one back helps nobody.
                    stream.set_nodelay(true).map_err(|error| failure(&error))?;
                    return Ok(stream);
                }
                Ok(Err(error)) => outcome = more_telling(outcome, failure(&error)),
                Err(_) => {}
            },
            () = next => {}
        }
    }
}

/// A refusal says that there is a host; anything says more than "unreachable".
fn more_telling(a: EgressError, b: EgressError) -> EgressError {
    match (a, b) {
        (EgressError::ConnectionRefused, _) | (_, EgressError::Unreachable) => a,
        _ => b,
    }
}

/// Both families in turn, beginning with that of the first address.
fn in_turn(addresses: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let first_is_v4 = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv4() == first_is_v4);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut out = VecDeque::new();
    while out.len() < ATTEMPTS_MAX {
        let before = out.len();
        out.extend(first.next());
        out.extend(second.next());
        if out.len() == before {
            break;
        }
    }
    out.truncate(ATTEMPTS_MAX);
    out
}

/// A stream that pays its circuit's account for what it moves, and ends when nothing has moved for long.
pub(super) struct Metered {
    stream: TcpStream,
    permit: Permit,
    idle: Duration,
    moved_at: Instant,
    idle_timer: Pin<Box<Sleep>>,
    pace_timer: Pin<Box<Sleep>>,
}

impl Metered {
    pub(super) fn new(stream: TcpStream, permit: Permit, idle: Duration) -> Self {
        let now = Instant::now();
        Self {
            stream,
            permit,
            idle,
            moved_at: now,
            idle_timer: Box::pin(sleep_until((now + idle).into())),
            pace_timer: Box::pin(sleep_until(now.into())),
        }
    }

    /// Ready when the account allows bytes to move.
    fn poll_pace(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.permit.account().may_move(Instant::now()) {
                Ok(None) => return Poll::Ready(Ok(())),
                Ok(Some(at)) => {
                    self.pace_timer.as_mut().reset(at.into());
                    ready!(self.pace_timer.as_mut().poll(cx));
                }
                Err(exceeded) => return Poll::Ready(Err(io::Error::new(io::ErrorKind::QuotaExceeded, exceeded))),
            }
        }
    }

    fn moved(&mut self, bytes: usize) {
        let now = Instant::now();
        self.moved_at = now;
        self.permit.account().spend(bytes, now);
    }

    /// Ready, with an error, when nothing has moved for long.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            ready!(self.idle_timer.as_mut().poll(cx));
            // The timer is not touched while bytes move: it only looks again when it fires.
            let until = self.moved_at + self.idle;
            if until <= Instant::now() {
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            self.idle_timer.as_mut().reset(until.into());
        }
    }
}

impl AsyncRead for Metered {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_pace(cx))?;
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buffer) {
            Poll::Ready(result) => {
                this.moved(buffer.filled().len() - before);
                Poll::Ready(result)
            }
            Poll::Pending => this.poll_idle(cx).map(Err),
        }
    }
}

impl AsyncWrite for Metered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_pace(cx))?;
        let result = ready!(Pin::new(&mut this.stream).poll_write(cx, bytes));
        if let Ok(written) = result {
            this.moved(written);
        }
        Poll::Ready(result)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
