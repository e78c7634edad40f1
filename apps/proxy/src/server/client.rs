//! One client, from accept to close.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Shared, udp};
use crate::connector::{ConnectError, Connector};
use crate::handshake::{Accepted, Command, Handshake, Progress, Refusal};
use crate::isolation::Token;
use crate::target::Host;

/// How long a refused client may take to read its answer, and how much it may still send meanwhile.
const FAREWELL: Duration = Duration::from_secs(2);
const FAREWELL_BYTES: usize = 64 * 1024;
/// The warning about addresses; the lower bits are those of refusals.
const ADDRESS: u8 = 8;

pub(super) async fn serve<C: Connector>(shared: &Shared<C>, mut client: TcpStream) {
    // Small answers should leave at once; failure to say so only costs time.
    let _ = client.set_nodelay(true);
    let accepted = match timeout(shared.config.handshake_timeout, handshake(&mut client)).await {
        Ok(Ok(Ok(accepted))) => accepted,
        Ok(Ok(Err(refusal))) => {
            report(shared, refusal);
            farewell(client).await;
            return;
        }
        Ok(Err(_)) => return,
        Err(_) => {
            tracing::debug!("a client did not finish its request in time");
            return;
        }
    };
    if accepted.names_an_address && shared.first(ADDRESS) {
        tracing::warn!(
            "a program asked for an address instead of a name: it may look names up outside the circuit; \
             let the proxy do it (socks5h:// in curl, \"proxy DNS\" in browsers)"
        );
    }
    if carry_out(shared, &mut client, *accepted).await.is_err() {
        // The stream broke: the client must not take what it has for the whole.
        let _ = client.set_zero_linger();
    }
}

/// Reads and answers until there is a request. The outer error is the socket's.
async fn handshake(client: &mut TcpStream) -> io::Result<Result<Box<Accepted>, Refusal>> {
    let mut machine = Handshake::new();
    let mut buffer = [0; 2048];
    loop {
        let read = client.read(&mut buffer).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let progress = machine.handle_input(&buffer[..read]);
        client.write_all(&machine.take_output()).await?;
        match progress {
            Progress::More => {}
            Progress::Accepted(accepted) => return Ok(Ok(accepted)),
            Progress::Refused(refusal) => return Ok(Err(refusal)),
        }
    }
}

fn report<C: Connector>(shared: &Shared<C>, refusal: Refusal) {
    let bit = match refusal {
        Refusal::Socks4 => 1,
        Refusal::Tls => 2,
        Refusal::Http(_) => 4,
        _ => 0,
    };
    if bit != 0 && shared.first(bit) {
        tracing::warn!("a program was refused: {refusal}");
    } else {
        tracing::debug!("a client was refused: {refusal}");
    }
}

/// Closes so that the answer arrives: a close with unread input would reset the connection under it.
async fn farewell(mut client: TcpStream) {
    let _ = timeout(FAREWELL, async {
        client.shutdown().await?;
        let mut buffer = [0; 2048];
        let mut left = FAREWELL_BYTES;
        while left > 0 {
            let read = client.read(&mut buffer).await?;
            if read == 0 {
                break;
            }
            left = left.saturating_sub(read);
        }
        io::Result::Ok(())
    })
    .await;
}

/// Does what was asked, and answers. An error means that a stream broke after it was opened.
async fn carry_out<C: Connector>(shared: &Shared<C>, client: &mut TcpStream, mut accepted: Accepted) -> io::Result<()> {
    let Ok(lease) = shared.lease(accepted.credentials.take()) else {
        return answer(client, &accepted.encode_failure(ConnectError::Quota)).await;
    };
    let token = lease.token;
    let outcome = match accepted.command {
        Command::Connect => connect(shared, client, token, &accepted).await,
        Command::UdpAssociate => udp::associate(shared, client, token, &accepted).await,
        Command::Resolve => resolve(shared, token, &accepted).await.map(Done::Answer),
        Command::ResolvePtr => resolve_ptr(shared, token, &accepted).await.map(Done::Answer),
    };
    match outcome {
        Ok(Done::Answer(bytes)) => answer(client, &bytes).await,
        Ok(Done::Over(result)) => result,
        Err(error) => {
            tracing::debug!("a request failed: {error}");
            answer(client, &accepted.encode_failure(error)).await
        }
    }
}

/// What is left to do after a request was carried out.
pub(super) enum Done {
    /// Send this and close.
    Answer(Vec<u8>),
    /// Nothing: the client was answered and the data has flowed, well or not.
    Over(io::Result<()>),
}

async fn connect<C: Connector>(
    shared: &Shared<C>,
    client: &mut TcpStream,
    token: Token,
    accepted: &Accepted,
) -> Result<Done, ConnectError> {
    if accepted.target.port == 0 {
        return Err(ConnectError::Refused);
    }
    let mut stream = in_time(shared, shared.connector.connect(token, &accepted.target)).await?;
    Ok(Done::Over(
        async {
            client.write_all(&accepted.encode_success(None)).await?;
            if !accepted.early.is_empty() {
                stream.write_all(&accepted.early).await?;
                stream.flush().await?;
            }
            let size = shared.config.buffer;
            copy_bidirectional_with_sizes(client, &mut stream, size, size).await?;
            Ok(())
        }
        .await,
    ))
}

async fn resolve<C: Connector>(shared: &Shared<C>, token: Token, accepted: &Accepted) -> Result<Vec<u8>, ConnectError> {
    let ip = match &accepted.target.host {
        Host::Ip(ip) => *ip,
        Host::Name(name) => {
            let found = in_time(shared, shared.connector.resolve(token, name)).await?;
            let v4 = found.iter().find(|ip| ip.is_ipv4());
            *v4.or(found.first()).ok_or(ConnectError::NameNotFound)?
        }
    };
    Ok(accepted.encode_success(Some(SocketAddr::new(ip, 0))))
}

async fn resolve_ptr<C: Connector>(
    shared: &Shared<C>,
    token: Token,
    accepted: &Accepted,
) -> Result<Vec<u8>, ConnectError> {
    let ip: IpAddr = match &accepted.target.host {
        Host::Ip(ip) => *ip,
        Host::Name(_) => return Err(ConnectError::Unsupported),
    };
    let name = in_time(shared, shared.connector.resolve_ptr(token, ip)).await?;
    Ok(accepted.encode_name(&name))
}

pub(super) async fn in_time<C, T>(
    shared: &Shared<C>,
    future: impl Future<Output = Result<T, ConnectError>>,
) -> Result<T, ConnectError> {
    timeout(shared.config.connect_timeout, future).await.unwrap_or(Err(ConnectError::Timeout))
}

async fn answer(client: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    // Whether the client still reads its answer is its own affair.
    let _ = client.write_all(bytes).await;
    let _ = client.shutdown().await;
    Ok(())
}
