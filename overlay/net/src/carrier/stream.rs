//! TCP connections that both ends open to each other, for networks that let no UDP through.
//!
//! All leave from one port of this machine, the one that a relay sees when this node links to it over WebSocket, so a
//! translator gives them the same address. A datagram on the wire is its length, u16 big-endian, and its bytes. Nothing on
//! the connection is believed: probes and the link's own handshake inside are authenticated.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Weak;

use futures_util::{sink, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use zmesh_proto::nat::punch::STREAM_PATIENCE;

use super::pump::{BUFFER, LONGEST, Patience, Read, pump_by};
use crate::shard::{Command, Shard};

/// The port from which connections are opened.
pub(crate) struct Streams {
    port: u16,
    /// Holds the port; nothing listens on it.
    _held: TcpSocket,
}

fn socket(port: u16) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // Several connections leave from the one port.
    socket.set_reuseaddr(true)?;
    #[cfg(unix)]
    socket.set_reuseport(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
    Ok(socket)
}

impl Streams {
    /// Takes a port.
    ///
    /// # Errors
    /// The system gives none.
    pub(crate) fn open() -> io::Result<Self> {
        let held = socket(0)?;
        Ok(Self { port: held.local_addr()?.port(), _held: held })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Connects from the port.
    ///
    /// # Errors
    /// What the system says; also when there is or was such a connection a moment ago.
    ///
    /// # Cancel safety
    /// Dropping the future gives the connection up.
    pub(crate) async fn connect(&self, to: SocketAddrV4) -> io::Result<TcpStream> {
        socket(self.port)?.connect(to.into()).await
    }
}

/// Connects to a node that connects here at the same time, for an attempt of this one; moves datagrams from then on.
pub(crate) async fn open(shard: Weak<Shard>, attempt: u32, to: SocketAddr) {
    let Some(alive) = shard.upgrade() else { return };
    let (Some(streams), SocketAddr::V4(far)) = (&alive.streams, to) else { return };
    let connected = tokio::time::timeout(STREAM_PATIENCE, streams.connect(far)).await;
    let Ok(Ok(tcp)) = connected else { return };
    if tcp.set_nodelay(true).is_err() {
        return;
    }
    let Some(connection) = alive.hub.enter_stream(to) else { return };
    let address = connection.address;
    // Before anything can come by it.
    if !alive.command(Command::Connected { attempt, address }).await {
        return;
    }
    drop(alive);
    let in_use = move || {
        let shard = shard.upgrade();
        async move {
            match shard {
                Some(shard) => shard.carries_link(address).await,
                None => false,
            }
        }
    };
    let (read, write) = tcp.into_split();
    let sink = Box::pin(sink::unfold(BufWriter::with_capacity(BUFFER, write), write_datagram));
    let stream = Box::pin(stream::unfold(BufReader::new(read), |mut from| async move {
        Some((read_datagram(&mut from).await.map_or(Read::End, Read::Datagram), from))
    }));
    pump_by(connection, sink, stream, Patience::default(), in_use).await;
}

async fn write_datagram(mut to: BufWriter<OwnedWriteHalf>, datagram: Vec<u8>) -> io::Result<BufWriter<OwnedWriteHalf>> {
    let len = u16::try_from(datagram.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    to.write_u16(len).await?;
    to.write_all(&datagram).await?;
    to.flush().await?;
    Ok(to)
}

/// `None` when nothing more comes, or something that no datagram is.
async fn read_datagram(from: &mut BufReader<OwnedReadHalf>) -> Option<Vec<u8>> {
    let len = usize::from(from.read_u16().await.ok()?);
    if len == 0 || len > LONGEST {
        return None;
    }
    let mut datagram = vec![0; len];
    from.read_exact(&mut datagram).await.ok()?;
    Some(datagram)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn connections_leave_from_one_port_and_carry_whole_datagrams() {
        let streams = Streams::open().expect("a port");
        let mut open = Vec::new();
        for bad in [0, LONGEST + 1] {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("it listens");
            let Ok(SocketAddr::V4(at)) = listener.local_addr() else { panic!("IPv4") };
            let near = streams.connect(at).await.expect("it connects");
            let (far, from) = listener.accept().await.expect("it comes");
            assert_eq!(from.port(), streams.port());
            let ((read, write), (other_read, other_write)) = (far.into_split(), near.into_split());
            let (mut from, mut to) = (BufReader::new(read), BufWriter::new(other_write));
            for len in [1, 576, LONGEST, bad] {
                to = write_datagram(to, vec![7; len]).await.expect("it is taken");
                let whole = (len != bad).then(|| vec![7; len]);
                assert_eq!(read_datagram(&mut from).await, whole, "{len}");
            }
            // Kept, so that both are there at once.
            open.push((from, to, write, other_read));
        }
    }
}
