//! A router's service that forwards ports: how it describes it, and what it can be told.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::num::NonZeroU16;

use super::Error;
use super::answer::Answer;
use super::http::{self, Question};
use super::url::Url;
use super::xml::{self, Mark};
use crate::Transport;

/// Services of one description that are tried.
const SERVICES: usize = 4;
/// What routers show their owners.
const NAME: &str = "zMesh";

/// What kind of connection it is that the router forwards from, the best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    Ip2,
    Ip1,
    Ppp1,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Ip2, Self::Ip1, Self::Ppp1];

    fn urn(self) -> &'static str {
        match self {
            Self::Ip2 => "urn:schemas-upnp-org:service:WANIPConnection:2",
            Self::Ip1 => "urn:schemas-upnp-org:service:WANIPConnection:1",
            Self::Ppp1 => "urn:schemas-upnp-org:service:WANPPPConnection:1",
        }
    }
}

/// One that can be told to forward.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Service {
    pub(crate) kind: Kind,
    pub(crate) control: Url,
}

/// A port to be forwarded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    pub(crate) outside: u16,
    pub(crate) inside: SocketAddrV4,
    pub(crate) transport: Transport,
    /// Seconds, or none for ever.
    pub(crate) lasts: u32,
}

/// The services of a router whose description lies somewhere.
pub(crate) async fn describe(own: Ipv4Addr, url: &Url) -> Result<Vec<Service>, Error> {
    let Answer { status, body } = http::ask(own, url, Question::Get).await?;
    if status != 200 {
        return Err(Error::Status(status));
    }
    services(&body, url)
}

/// The services in a description that lies there, the best first.
pub(crate) fn services(description: &[u8], url: &Url) -> Result<Vec<Service>, Error> {
    let (mut base, mut found) = (None, Vec::new());
    let (mut kind, mut control) = (None, None);
    xml::read(&String::from_utf8_lossy(description), |mark| match mark {
        Mark::Opened("service") => (kind, control) = (None, None),
        Mark::Closed("serviceType", text) => kind = Kind::ALL.into_iter().find(|kind| kind.urn() == text),
        Mark::Closed("controlURL", text) => control = Some(text.to_owned()),
        Mark::Closed("service", _) => found.extend(kind.take().zip(control.take())),
        Mark::Closed("URLBase", text) if !text.is_empty() => base = Some(text.to_owned()),
        _ => {}
    })?;
    let base = match base {
        Some(base) => Url::parse(&base, *url.at.ip())?,
        None => url.clone(),
    };
    found.sort_by_key(|(kind, _)| *kind);
    let named = found.into_iter().filter_map(|(kind, name)| Some(Service { kind, control: base.join(&name).ok()? }));
    let services: Vec<Service> = named.take(SERVICES).collect();
    if services.is_empty() { Err(Error::NoService) } else { Ok(services) }
}

impl Service {
    /// The router's address outside.
    pub(crate) async fn address(&self, own: Ipv4Addr) -> Result<Ipv4Addr, Error> {
        let told = self.tell(own, "GetExternalIPAddress", &[], "NewExternalIPAddress").await?;
        let ip: Ipv4Addr = told.and_then(|text| text.parse().ok()).ok_or(Error::Lacking)?;
        // A line that is down has none.
        let usable = !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast() && !ip.is_broadcast();
        if usable { Ok(ip) } else { Err(Error::Lacking) }
    }

    /// Forwards a port, or goes on to.
    pub(crate) async fn add(&self, own: Ipv4Addr, rule: Rule) -> Result<(), Error> {
        self.tell(own, "AddPortMapping", &rule.arguments(), "").await.map(|_| ())
    }

    /// Forwards any port, the wanted one if it can be; gives which it is.
    pub(crate) async fn add_any(&self, own: Ipv4Addr, rule: Rule) -> Result<u16, Error> {
        let told = self.tell(own, "AddAnyPortMapping", &rule.arguments(), "NewReservedPort").await?;
        let port: Option<NonZeroU16> = told.and_then(|text| text.parse().ok());
        Ok(port.ok_or(Error::Lacking)?.get())
    }

    /// Does not forward a port any more.
    pub(crate) async fn delete(&self, own: Ipv4Addr, outside: u16, transport: Transport) -> Result<(), Error> {
        let arguments = [
            ("NewRemoteHost", String::new()),
            ("NewExternalPort", outside.to_string()),
            ("NewProtocol", protocol(transport).to_owned()),
        ];
        self.tell(own, "DeletePortMapping", &arguments, "").await.map(|_| ())
    }

    /// Has something done; gives the text of one element of the answer, if that is there.
    async fn tell(
        &self,
        own: Ipv4Addr,
        action: &str,
        arguments: &[(&str, String)],
        wanted: &str,
    ) -> Result<Option<String>, Error> {
        let urn = self.kind.urn();
        let envelope = envelope(urn, action, arguments);
        let soap = format!("{urn}#{action}");
        let question = Question::Post { action: &soap, envelope: &envelope };
        done(&http::ask(own, &self.control, question).await?, action, wanted)
    }
}

impl Rule {
    fn arguments(&self) -> [(&'static str, String); 8] {
        [
            ("NewRemoteHost", String::new()),
            ("NewExternalPort", self.outside.to_string()),
            ("NewProtocol", protocol(self.transport).to_owned()),
            ("NewInternalPort", self.inside.port().to_string()),
            ("NewInternalClient", self.inside.ip().to_string()),
            ("NewEnabled", "1".to_owned()),
            ("NewPortMappingDescription", NAME.to_owned()),
            ("NewLeaseDuration", self.lasts.to_string()),
        ]
    }
}

fn protocol(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "UDP",
        Transport::Tcp => "TCP",
    }
}

fn envelope(urn: &str, action: &str, arguments: &[(&str, String)]) -> String {
    let arguments: String =
        arguments.iter().map(|(name, value)| format!("<{name}>{}</{name}>", xml::escaped(value))).collect();
    format!(
        "<?xml version=\"1.0\"?>\r\n<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body>\
         <u:{action} xmlns:u=\"{urn}\">{arguments}</u:{action}></s:Body></s:Envelope>\r\n"
    )
}

/// Whether an answer says that something is done; gives the text of one of its elements, if that is there.
pub(crate) fn done(answer: &Answer, action: &str, wanted: &str) -> Result<Option<String>, Error> {
    let (mut done, mut code, mut value) = (false, None, None);
    let read = xml::read(&String::from_utf8_lossy(&answer.body), |mark| match mark {
        Mark::Opened(name) => done |= name.strip_suffix("Response") == Some(action),
        Mark::Closed("errorCode", text) => code = text.parse().ok(),
        Mark::Closed(name, text) if name == wanted => value = Some(text.to_owned()),
        Mark::Closed(..) => {}
    });
    match (code, answer.status) {
        (Some(code), _) if read.is_ok() => Err(Error::Refused(code)),
        (_, 200) => {
            read?;
            if done { Ok(value) } else { Err(Error::Lacking) }
        }
        (_, status) => Err(Error::Status(status)),
    }
}
