//! What anything on the network can do that answers a search, or is taken for the router.

#[cfg(target_os = "linux")]
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

#[cfg(target_os = "linux")]
use super::fake::description;
use super::fake::{Home, Says, found, serve, start};
use super::*;

/// A router that describes itself so.
async fn described(document: String) -> Error {
    ask(start(move |_: &str, _: &str| Says::All(document.clone())).await).await.unwrap_err()
}

#[tokio::test]
async fn elements_within_each_other_are_no_matter_of_the_stack() {
    let head = "HTTP/1.1 200 OK\r\n\r\n";
    // Each as deep as a body can be; the second is longer than one.
    assert!(matches!(described(head.to_owned() + &"<a>".repeat(20_000)).await, Error::Deep));
    assert!(matches!(described(head.to_owned() + &"<a>".repeat(100_000)).await, Error::Long));
    // In what it says of a port as well.
    let home = Home::new(Kind::Ip1);
    let answers = home.answers();
    let search =
        start(
            move |head: &str, body: &str| {
                if head.contains("#AddPortMapping") { Says::ok(&"<a>".repeat(20_000)) } else { answers(head, body) }
            },
        );
    assert!(matches!(ask(search.await).await, Err(Error::Deep)));
}

#[tokio::test]
async fn who_says_nothing_is_given_up() {
    let silent = start(|_: &str, _: &str| Says::Begin(String::new())).await;
    assert!(matches!(ask(silent).await, Err(Error::Late)));
}

#[tokio::test]
async fn who_never_ends_is_given_up() {
    let home = Home::new(Kind::Ip1);
    let answers = home.answers();
    let trickles = start(move |head: &str, body: &str| {
        if head.contains("#AddPortMapping") {
            Says::Trickle("HTTP/1.1 200 OK\r\n\r\n".to_owned())
        } else {
            answers(head, body)
        }
    });
    assert!(matches!(ask(trickles.await).await, Err(Error::Late)));
}

#[tokio::test]
async fn who_has_no_end_is_not_kept_in_memory() {
    for begin in
        ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]
    {
        let endless = start(move |_: &str, _: &str| Says::Endless(begin.to_owned())).await;
        assert!(matches!(ask(endless).await, Err(Error::Long)), "{begin}");
    }
}

#[tokio::test]
async fn nobody_is_asked_because_a_router_says_so() {
    let moved = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\n\r\n";
    assert!(matches!(described(moved.to_owned()).await, Error::Status(302)));
}

/// Somebody at another address of this machine, and how often it was asked.
#[cfg(target_os = "linux")]
async fn other() -> (Ipv4Addr, std::net::SocketAddr, Arc<AtomicU32>) {
    let (ip, asked) = (Ipv4Addr::new(127, 0, 0, 2), Arc::new(AtomicU32::new(0)));
    let counted = Arc::clone(&asked);
    let at = serve(ip, move |_: &str, _: &str| {
        counted.fetch_add(1, Ordering::Relaxed);
        Says::ok(&description(&[(Kind::Ip1, "/control")]))
    });
    (ip, at.await, asked)
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_description_elsewhere_is_not_fetched() {
    let (_, elsewhere, asked) = other().await;
    let search = found(Ipv4Addr::LOCALHOST, elsewhere).await;
    assert!(matches!(ask(search).await, Err(Error::Silent)));
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_service_elsewhere_is_told_nothing() {
    let (_, elsewhere, asked) = other().await;
    let there = format!("http://{elsewhere}/control");
    let document = description(&[(Kind::Ip1, &there)]);
    let base = document.replace("<device>", &format!("<URLBase>http://{elsewhere}/</URLBase><device>"));
    let near = description(&[(Kind::Ip1, "/control")]).replace("<root", "<root a='b'");
    for (document, expected) in [(document, "no service"), (base, "not its own"), (near, "status 404")] {
        let answers = move |head: &str, _: &str| {
            if head.starts_with("GET") {
                Says::ok(&document)
            } else {
                Says::All("HTTP/1.1 404 Not Found\r\n\r\n".to_owned())
            }
        };
        let error = ask(start(answers).await).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn only_the_router_of_the_default_route_is_listened_to() {
    // Another machine answers first, and even names the router.
    let home = Home::new(Kind::Ip1);
    let at = serve(Ipv4Addr::LOCALHOST, home.answers()).await;
    let search = found(Ipv4Addr::new(127, 0, 0, 2), at).await;
    assert!(matches!(ask(search).await, Err(Error::Silent)));
    assert_eq!(home.asked("AddPortMapping"), 0);
    // The router itself is heard.
    ask(found(Ipv4Addr::LOCALHOST, at).await).await.unwrap();
}

#[tokio::test]
async fn what_is_told_of_the_router_falsely_does_not_hide_it() {
    let home = Home::new(Kind::Ip1);
    let at = serve(Ipv4Addr::LOCALHOST, home.answers()).await;
    let junk = serve(Ipv4Addr::LOCALHOST, |_: &str, _: &str| Says::ok(&"<a>".repeat(9_999))).await;
    let silent = serve(Ipv4Addr::LOCALHOST, |_: &str, _: &str| Says::Begin(String::new())).await;
    // All seem to come from the router: the source of a datagram can be forged.
    let mut searches = Vec::new();
    for description in [junk, silent, at] {
        searches.push(found(Ipv4Addr::LOCALHOST, description).await);
    }
    let wanted = Wanted {
        port: NonZeroU16::new(PORT).unwrap(),
        transport: Transport::Udp,
        only: None,
        lease: Duration::from_secs(3_600),
    };
    let search = Search::begin_at(around(), searches).await.unwrap();
    let inside = SocketAddrV4::new(Ipv4Addr::LOCALHOST, PORT);
    Forwarded::ask_by(search, around(), inside, &wanted).await.unwrap();
    assert_eq!(home.rules().len(), 1);
}
