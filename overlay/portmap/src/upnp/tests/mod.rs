//! Routers over loopback, friendly and hostile.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fake;
mod hostile;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::num::NonZeroU16;
use std::time::Duration;

use proptest::prelude::*;

use super::service::Kind;
use super::*;
use crate::Transport;
use fake::{Home, Says, start};

const PORT: u16 = 4_001;

proptest! {
    #[test]
    fn whatever_comes_leads_to_the_router_or_nowhere(cut in 0_usize..400, put in ".{0,40}", chunked in any::<bool>()) {
        let url = "http://192.168.0.1:5000/control";
        let document = fake::description(&[(Kind::Ip1, url), (Kind::Ppp1, "/ppp")]);
        let at = (0..=cut.min(document.len())).rev().find(|at| document.is_char_boundary(*at)).unwrap();
        let (before, after) = document.split_at(at);
        let body = format!("{before}{put}{after}");
        let head = "HTTP/1.1 200 OK\r\nLocation: http://192.168.0.1/";
        let answer = if chunked {
            format!("{head}\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
        } else {
            format!("{head}{put}\r\n\r\n{body}")
        };
        fuzz(answer.as_bytes());
        fuzz(body.as_bytes());
    }
}

pub(super) fn around() -> Around {
    Around { gateway: Ipv4Addr::LOCALHOST, own: Ipv4Addr::LOCALHOST }
}

/// Asks the router that answers searches there, and nobody else.
pub(super) async fn ask(search: SocketAddrV4) -> Result<Forwarded, Error> {
    let port = NonZeroU16::new(PORT).unwrap();
    let wanted = Wanted { port, transport: Transport::Tcp, only: None, lease: Duration::from_secs(3_600) };
    let inside = SocketAddrV4::new(Ipv4Addr::LOCALHOST, PORT);
    let asked = async {
        let search = Search::begin_at(around(), vec![search]).await?;
        Forwarded::ask_by(search, around(), inside, &wanted).await
    };
    tokio::time::timeout(Duration::from_secs(120), asked).await.expect("asking has an end")
}

#[tokio::test]
async fn a_port_is_asked_for_renewed_and_given_back() {
    let home = Home::new(Kind::Ip1);
    let search = start(home.answers()).await;
    let forwarded = ask(search).await.unwrap();
    assert_eq!(forwarded.outside(), "203.0.113.7:4001".parse().unwrap());
    assert_eq!(home.rules(), [(PORT, "TCP 127.0.0.1:4001 for 3600".to_owned())]);
    let forwarded = forwarded.renew().await.unwrap();
    assert_eq!(home.asked("AddPortMapping"), 2);
    forwarded.give_back().await;
    assert!(home.rules().is_empty());
}

#[tokio::test]
async fn who_forwards_for_ever_only_is_asked_for_that() {
    let home = Home { permanent: true, ..Home::new(Kind::Ppp1) };
    let forwarded = ask(start(home.answers()).await).await.unwrap();
    assert_eq!(home.rules(), [(PORT, "TCP 127.0.0.1:4001 for 0".to_owned())]);
    let forwarded = forwarded.renew().await.unwrap();
    assert_eq!(home.asked("AddPortMapping"), 3, "renewed without asking for a time again");
    assert_eq!(forwarded.lasts(), Duration::from_secs(3_600), "it is looked at all the same");
}

#[tokio::test]
async fn another_port_is_taken_where_somebody_has_the_wanted_one() {
    for (kind, any) in [(Kind::Ip1, 0), (Kind::Ip2, 1)] {
        let home = Home { taken: vec![PORT], ..Home::new(kind) };
        let forwarded = ask(start(home.answers()).await).await.unwrap();
        assert!(forwarded.outside().port() >= DYNAMIC, "{kind:?}");
        assert_eq!(home.asked("AddAnyPortMapping"), any, "{kind:?}");
        assert_eq!(home.rules()[0].0, forwarded.outside().port(), "{kind:?}");
        forwarded.give_back().await;
        assert!(home.rules().is_empty(), "{kind:?}");
    }
}

#[tokio::test]
async fn who_does_not_renew_has_nothing_to_keep() {
    let home = Home::new(Kind::Ip1);
    let forwarded = ask(start(home.answers()).await).await.unwrap();
    home.line_down();
    assert!(matches!(forwarded.renew().await, Err(Error::Lacking)));
    assert!(home.rules().is_empty(), "what is not kept is given back");
}

#[tokio::test]
async fn a_line_that_is_up_is_preferred_to_one_that_is_down() {
    let home = Home::new(Kind::Ppp1);
    let answers = home.answers();
    // The first service has no address, as where the line is by PPP.
    let search = start(move |head: &str, body: &str| {
        if head.starts_with("GET") {
            return Says::ok(&fake::description(&[(Kind::Ip1, "/down"), (Kind::Ppp1, "/control")]));
        }
        if head.starts_with("POST /down") {
            return Says::done("GetExternalIPAddress", "<NewExternalIPAddress>0.0.0.0</NewExternalIPAddress>");
        }
        answers(head, body)
    })
    .await;
    assert_eq!(ask(search).await.unwrap().service.kind, Kind::Ppp1);
}
