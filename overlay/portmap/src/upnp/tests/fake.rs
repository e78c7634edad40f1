//! A router on loopback that says what a test has it say.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::upnp::service::Kind;

/// What is said to a question.
pub(super) enum Says {
    /// This, and the connection ends.
    All(String),
    /// This, and then nothing.
    Begin(String),
    /// This, and then one byte after another, with a pause behind each.
    Trickle(String),
    /// This, and then bytes without end.
    Endless(String),
}

impl Says {
    pub(super) fn ok(body: &str) -> Self {
        Self::All(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    }

    pub(super) fn done(action: &str, inside: &str) -> Self {
        Self::ok(&format!(
            "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"e\"><s:Body><u:{action}Response xmlns:u=\"u\">{inside}\
             </u:{action}Response></s:Body></s:Envelope>"
        ))
    }

    /// As some routers say it: in chunks.
    pub(super) fn refused(code: u16) -> Self {
        let body = format!(
            "<s:Envelope xmlns:s=\"e\"><s:Body><s:Fault><faultcode>s:Client</faultcode><detail><UPnPError>\
             <errorCode>{code}</errorCode></UPnPError></detail></s:Fault></s:Body></s:Envelope>"
        );
        Self::All(format!(
            "HTTP/1.1 500 Internal Server Error\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        ))
    }
}

/// A description with services and where they are told.
pub(super) fn description(services: &[(Kind, &str)]) -> String {
    let services: String = services
        .iter()
        .map(|(kind, control)| {
            let urn = match kind {
                Kind::Ip2 => "WANIPConnection:2",
                Kind::Ip1 => "WANIPConnection:1",
                Kind::Ppp1 => "WANPPPConnection:1",
            };
            format!(
                "<service><serviceType>urn:schemas-upnp-org:service:{urn}</serviceType><SCPDURL>/s.xml</SCPDURL>\
                 <controlURL>{control}</controlURL></service>"
            )
        })
        .collect();
    format!(
        "<?xml version=\"1.0\"?>\r\n<root xmlns=\"urn:schemas-upnp-org:device-1-0\"><device><deviceList><device>\
         <friendlyName>A &amp; B</friendlyName><serviceList>{services}</serviceList></device></deviceList></device></root>"
    )
}

/// Starts a router that says this by HTTP to the head and the body of a question; gives where it answers searches.
pub(super) async fn start(says: impl Fn(&str, &str) -> Says + Send + Sync + 'static) -> SocketAddrV4 {
    let at = serve(Ipv4Addr::LOCALHOST, says).await;
    found(Ipv4Addr::LOCALHOST, at).await
}

/// Answers searches with that a description is there; gives where.
pub(super) async fn found(from: Ipv4Addr, description: SocketAddr) -> SocketAddrV4 {
    let socket = UdpSocket::bind((from, 0)).await.unwrap();
    let SocketAddr::V4(at) = socket.local_addr().unwrap() else { panic!("it is IPv4") };
    tokio::spawn(async move {
        let mut datagram = [0; 2_048];
        while let Ok((len, asker)) = socket.recv_from(&mut datagram).await {
            assert!(datagram[..len].starts_with(b"M-SEARCH * HTTP/1.1\r\n"));
            let answer = format!("HTTP/1.1 200 OK\r\nLOCATION: http://{description}/d/root.xml\r\n\r\n");
            socket.send_to(answer.as_bytes(), asker).await.unwrap();
        }
    });
    at
}

/// Says this by HTTP; gives where.
pub(super) async fn serve(at: Ipv4Addr, says: impl Fn(&str, &str) -> Says + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind((at, 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    let says = Arc::new(says);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let says = Arc::clone(&says);
            tokio::spawn(async move { answer(stream, &*says).await });
        }
    });
    at
}

async fn answer(mut stream: TcpStream, says: &(impl Fn(&str, &str) -> Says + Sync)) {
    let mut came = Vec::new();
    let (head, body) = loop {
        let mut piece = [0; 1_024];
        let len = stream.read(&mut piece).await.unwrap_or(0);
        if len == 0 {
            return;
        }
        came.extend_from_slice(&piece[..len]);
        let text = str::from_utf8(&came).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let wanted = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        if body.len() >= wanted.map_or(0, |len| len.parse().unwrap()) {
            break (head.to_owned(), body.to_owned());
        }
    };
    let (text, more) = match says(&head, &body) {
        Says::All(text) => (text, None),
        Says::Begin(text) => (text, Some((0, u64::MAX))),
        Says::Trickle(text) => (text, Some((1, 10))),
        Says::Endless(text) => (text, Some((4_096, 0))),
    };
    // Whoever has had enough is gone.
    if stream.write_all(text.as_bytes()).await.is_err() {
        return;
    }
    let Some((len, pause)) = more else { return };
    while stream.write_all(&vec![b' '; len]).await.is_ok() {
        tokio::time::sleep(std::time::Duration::from_millis(pause.min(60_000))).await;
    }
}

/// An ordinary router of a home.
pub(super) struct Home {
    pub(super) kind: Kind,
    /// It forwards for ever only.
    pub(super) permanent: bool,
    /// Ports that somebody has.
    pub(super) taken: Vec<u16>,
    pub(super) state: Arc<Mutex<State>>,
}

#[derive(Default)]
pub(super) struct State {
    rules: BTreeMap<u16, String>,
    asked: Vec<String>,
    down: bool,
}

impl Home {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, permanent: false, taken: Vec::new(), state: Arc::default() }
    }

    /// What it forwards.
    pub(super) fn rules(&self) -> Vec<(u16, String)> {
        self.state.lock().unwrap().rules.clone().into_iter().collect()
    }

    /// How often something was asked.
    pub(super) fn asked(&self, action: &str) -> usize {
        self.state.lock().unwrap().asked.iter().filter(|asked| *asked == action).count()
    }

    /// It has no address outside any more.
    pub(super) fn line_down(&self) {
        self.state.lock().unwrap().down = true;
    }

    pub(super) fn answers(&self) -> impl Fn(&str, &str) -> Says + Send + Sync + 'static {
        let (state, kind, permanent) = (Arc::clone(&self.state), self.kind, self.permanent);
        let taken = self.taken.clone();
        move |head, body| {
            if head.starts_with("GET /d/root.xml HTTP/1.1\r\n") {
                return Says::ok(&description(&[(kind, "../control?a=1&amp;b")]));
            }
            if !head.starts_with("POST /d/../control?a=1&b HTTP/1.1\r\n") && !head.starts_with("POST /control ") {
                return Says::All("HTTP/1.1 404 Not Found\r\n\r\n".to_owned());
            }
            let action = head.split_once('#').unwrap().1.split('"').next().unwrap();
            let argument = |name: &str| {
                let (_, rest) = body.split_once(&format!("<{name}>")).unwrap();
                rest.split('<').next().unwrap().to_owned()
            };
            let state = &mut *state.lock().unwrap();
            state.asked.push(action.to_owned());
            let mut add = |port: u16| {
                let client = format!("{}:{}", argument("NewInternalClient"), argument("NewInternalPort"));
                let rule = format!("{} {client} for {}", argument("NewProtocol"), argument("NewLeaseDuration"));
                state.rules.insert(port, rule);
                Says::done(action, &format!("<NewReservedPort>{port}</NewReservedPort>"))
            };
            match action {
                "GetExternalIPAddress" => {
                    let ip = if state.down { "0.0.0.0" } else { "203.0.113.7" };
                    Says::done(action, &format!("<NewExternalIPAddress>{ip}</NewExternalIPAddress>"))
                }
                "AddPortMapping" if permanent && argument("NewLeaseDuration") != "0" => Says::refused(725),
                "AddPortMapping" => match argument("NewExternalPort").parse().unwrap() {
                    port if taken.contains(&port) => Says::refused(718),
                    port => add(port),
                },
                "AddAnyPortMapping" if kind == Kind::Ip2 => add(60_000),
                "DeletePortMapping" => match state.rules.remove(&argument("NewExternalPort").parse().unwrap()) {
                    Some(_) => Says::done(action, ""),
                    None => Says::refused(714),
                },
                _ => Says::refused(401),
            }
        }
    }
}
