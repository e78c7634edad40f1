//! A connector that connects on the spot, and small servers to connect to.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use zmesh_proxy::{ConnectError, Connector, Host, Name, Server, ServerConfig, Target, Token, UdpRelay};

/// Knows `*.test` as this machine; remembers which tokens were used and forgotten.
#[derive(Clone, Default)]
pub(crate) struct Local {
    pub(crate) used: Arc<Mutex<Vec<Token>>>,
    pub(crate) forgotten: Arc<Mutex<Vec<Token>>>,
}

impl Local {
    fn lookup(target: &Target) -> Result<SocketAddr, ConnectError> {
        let ip = match &target.host {
            Host::Ip(ip) => *ip,
            Host::Name(name) if name.as_str().ends_with(".test") => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Host::Name(name) if name.as_str() == "forbidden.example" => {
                return Err(ConnectError::Policy);
            }
            Host::Name(name) if name.as_str() == "slow.example" => {
                return Err(ConnectError::Timeout);
            }
            Host::Name(_) => return Err(ConnectError::NameNotFound),
        };
        Ok(SocketAddr::new(ip, target.port))
    }
}

impl Connector for Local {
    type Stream = TcpStream;
    type Udp = LocalUdp;

    async fn connect(&self, token: Token, target: &Target) -> Result<TcpStream, ConnectError> {
        self.used.lock().expect("whole").push(token);
        TcpStream::connect(Local::lookup(target)?).await.map_err(|_| ConnectError::Refused)
    }

    async fn udp(&self, token: Token) -> Result<LocalUdp, ConnectError> {
        self.used.lock().expect("whole").push(token);
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(|_| ConnectError::Quota)?;
        Ok(LocalUdp(socket))
    }

    async fn resolve(&self, _: Token, name: &Name) -> Result<Vec<IpAddr>, ConnectError> {
        let target = Target { host: Host::Name(name.clone()), port: 0 };
        Ok(vec!["::1".parse().expect("valid"), Local::lookup(&target)?.ip()])
    }

    async fn resolve_ptr(&self, _: Token, ip: IpAddr) -> Result<Name, ConnectError> {
        if ip.is_loopback() {
            Name::parse(b"here.test").ok_or(ConnectError::NameNotFound)
        } else {
            Err(ConnectError::NameNotFound)
        }
    }

    fn forget(&self, token: Token) {
        self.forgotten.lock().expect("whole").push(token);
    }
}

pub(crate) struct LocalUdp(UdpSocket);

impl UdpRelay for LocalUdp {
    async fn send_to(&self, target: &Target, payload: &[u8]) -> Result<(), ConnectError> {
        let _ = self.0.send_to(payload, Local::lookup(target)?).await;
        Ok(())
    }

    async fn recv_from(&self, buffer: &mut [u8]) -> Result<(Target, usize), ConnectError> {
        let (length, from) = self.0.recv_from(buffer).await.map_err(|_| ConnectError::Closed)?;
        Ok((Target::ip(from), length))
    }
}

/// Starts a proxy over `connector`; it ends with the test's runtime.
pub(crate) async fn proxy(connector: Local, change: impl FnOnce(&mut ServerConfig)) -> SocketAddr {
    let mut config = ServerConfig::default();
    change(&mut config);
    let server = Server::bind_with(SocketAddr::from(([127, 0, 0, 1], 0)), config).await.expect("a free port");
    let address = server.local_addr().expect("bound");
    tokio::spawn(server.serve(Arc::new(connector)));
    address
}

/// Sends everything back and then closes its direction.
pub(crate) async fn echo() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.split();
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
                let _ = writer.shutdown().await;
            });
        }
    });
    port
}

/// Answers each datagram with itself.
pub(crate) async fn udp_echo() -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = socket.local_addr().expect("bound");
    tokio::spawn(async move {
        let mut buffer = vec![0; 1 << 16];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let _ = socket.send_to(&buffer[..length], from).await;
        }
    });
    address
}

pub(crate) async fn read_exactly(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut buffer = vec![0; length];
    tokio::time::timeout(Duration::from_secs(10), stream.read_exact(&mut buffer))
        .await
        .expect("in time")
        .expect("open");
    buffer
}

pub(crate) async fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let mut buffer = Vec::new();
    tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut buffer))
        .await
        .expect("in time")
        .expect("clean");
    buffer
}
