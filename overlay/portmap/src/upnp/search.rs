//! The search for a router (SSDP). Anything on the network hears it and may answer; only the router of the default route is listened to.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep, timeout_at};

use super::url::Url;
use super::{Error, answer};

/// Where routers listen: all at once, and each at its own address.
const PORT: u16 = 1_900;
const ALL: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 255, 255, 250), PORT);
/// How long answers are waited for, and how often is asked in that time: datagrams get lost.
const PATIENCE: Duration = Duration::from_secs(3);
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Descriptions that are looked at. A router has one, or one for each version.
const DESCRIPTIONS: usize = 4;

/// Who is looked for from where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Around {
    /// The router of the default route.
    pub(crate) gateway: Ipv4Addr,
    /// This machine's address towards it.
    pub(crate) own: Ipv4Addr,
}

/// A search that goes on.
pub(crate) struct Search {
    socket: UdpSocket,
    around: Around,
    to: Vec<SocketAddrV4>,
    ask_at: Instant,
    /// The time that is left for waiting. What was found may take its own to be looked at.
    left: Duration,
    found: Vec<Url>,
}

impl Search {
    pub(crate) async fn begin(around: Around) -> Result<Self, Error> {
        Self::begin_at(around, vec![SocketAddrV4::new(around.gateway, PORT), ALL]).await
    }

    /// The same with others to ask.
    pub(crate) async fn begin_at(around: Around, to: Vec<SocketAddrV4>) -> Result<Self, Error> {
        let socket = UdpSocket::bind((around.own, 0)).await?;
        Ok(Self { socket, around, to, ask_at: Instant::now(), left: PATIENCE, found: Vec::new() })
    }

    /// Where the next description of the router lies, each once. `None` when the time is over, or there were enough.
    pub(crate) async fn next(&mut self) -> Option<Url> {
        let began = Instant::now();
        let found = self.wait(began + self.left).await;
        self.left = self.left.saturating_sub(began.elapsed());
        found
    }

    async fn wait(&mut self, end: Instant) -> Option<Url> {
        let mut datagram = [0; 2_048];
        while self.found.len() < DESCRIPTIONS && Instant::now() < end {
            if Instant::now() >= self.ask_at {
                self.ask().await;
                self.ask_at += ASK_EVERY;
            }
            let (len, from) = match timeout_at(self.ask_at.min(end), self.socket.recv_from(&mut datagram)).await {
                Ok(Ok(came)) => came,
                // Some systems tell so that nobody listened at one of the addresses.
                Ok(Err(_)) => {
                    sleep(Duration::from_millis(50)).await;
                    continue;
                }
                Err(_) => continue,
            };
            if from.ip() != IpAddr::V4(self.around.gateway) {
                continue;
            }
            if let Some(url) = location(&datagram[..len], self.around.gateway)
                && !self.found.contains(&url)
            {
                self.found.push(url.clone());
                return Some(url);
            }
        }
        None
    }

    async fn ask(&self) {
        for version in 1..=2 {
            let text = format!(
                "M-SEARCH * HTTP/1.1\r\nHOST: {ALL}\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\n\
                 ST: urn:schemas-upnp-org:device:InternetGatewayDevice:{version}\r\n\r\n"
            );
            for to in &self.to {
                // Where it cannot be sent nobody answers.
                let _ = self.socket.send_to(text.as_bytes(), to).await;
            }
        }
    }
}

/// Where a router's answer to a search says that its description lies, if that is at the router itself.
pub(crate) fn location(datagram: &[u8], gateway: Ipv4Addr) -> Option<Url> {
    let mut lines = str::from_utf8(datagram).ok()?.lines();
    if answer::status(lines.next()?).ok()? != 200 {
        return None;
    }
    let named = lines.filter_map(|line| line.split_once(':')).find(|(name, _)| name.eq_ignore_ascii_case("location"));
    Url::parse(named?.1.trim(), gateway).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_lies_at_the_router_itself() {
        let gateway = Ipv4Addr::new(10, 0, 0, 1);
        let found = |text: &str| location(text.as_bytes(), gateway);
        let answer = |at: &str| format!("HTTP/1.1 200 OK\r\nST: x\r\nLocation: http://{at}/d.xml\r\nUSN: y\r\n\r\n");
        assert_eq!(found(&answer("10.0.0.1:5000")), Url::parse("http://10.0.0.1:5000/d.xml", gateway).ok());
        for elsewhere in ["127.0.0.1:5000", "169.254.169.254", "10.0.0.2", "router"] {
            assert_eq!(found(&answer(elsewhere)), None, "{elsewhere}");
        }
        assert_eq!(found(&answer("10.0.0.1").replace("200", "404")), None);
        assert_eq!(found("NOTIFY * HTTP/1.1\r\nLocation: http://10.0.0.1/d.xml\r\n\r\n"), None);
    }
}
