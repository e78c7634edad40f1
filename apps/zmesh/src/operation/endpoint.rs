//! The endpoint that Prometheus scrapes.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use super::exported::{Snapshot, open_metrics};
use super::few::Few;
use crate::failure::{Failure, Outcome};
use crate::files;

/// The media type of OpenMetrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Scrapes at a time.
const AT_ONCE: usize = 4;

/// The newest figures; nothing before the first were taken.
pub(crate) type Latest = watch::Receiver<Option<Snapshot>>;

#[derive(Clone)]
struct Shared {
    latest: Latest,
    turns: Arc<Semaphore>,
}

/// A running endpoint; it ends when dropped.
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Endpoint {
    /// Listens at `address` and answers with the latest figures.
    pub(crate) async fn start(address: SocketAddr, latest: Latest) -> Outcome<Endpoint> {
        let listener = TcpListener::bind(address).await.map_err(|error| {
            Failure::failed(
                format_args!("cannot listen on {address} for metrics"),
                files::reason(&error),
                "choose another address under [metrics] in the configuration",
            )
        })?;
        let address = listener.local_addr().unwrap_or(address);
        let shared = Shared { latest, turns: Arc::new(Semaphore::new(AT_ONCE)) };
        let router = Router::new().route("/metrics", get(scrape)).with_state(shared);
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(Few::new(listener), router).await {
                tracing::error!(%error, "the endpoint for metrics ended");
            }
        });
        Ok(Endpoint { address, task })
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn scrape(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    // A page in a browser must not read this under a name of its own that it points here.
    if !headers.get(header::HOST).and_then(|host| host.to_str().ok()).is_some_and(names_this_machine) {
        return (StatusCode::FORBIDDEN, "ask by address\n").into_response();
    }
    let Ok(_turn) = shared.turns.try_acquire() else {
        return StatusCode::TOO_MANY_REQUESTS.into_response();
    };
    let snapshot = shared.latest.borrow().clone();
    match snapshot {
        // Connections last seconds: none is kept for the next scrape.
        Some(snapshot) => {
            let headers = [(header::CONTENT_TYPE, OPEN_METRICS), (header::CONNECTION, "close")];
            (headers, open_metrics(snapshot)).into_response()
        }
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// Whether a Host header is an address, or the one name that means this machine everywhere.
fn names_this_machine(host: &str) -> bool {
    let is_here = |name: &str| name == "localhost" || name.parse::<IpAddr>().is_ok();
    let bare = |name: &str| name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).is_some_and(is_here);
    // An IPv6 address without brackets is one by itself; its last colon begins no port.
    is_here(host)
        || bare(host)
        || host
            .rsplit_once(':')
            .is_some_and(|(name, port)| port.bytes().all(|byte| byte.is_ascii_digit()) && (is_here(name) || bare(name)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::operation::exported::sample;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[test]
    fn names_that_somebody_can_own_are_no_addresses() {
        for host in ["127.0.0.1:9100", "127.0.0.1", "[::1]:9100", "::1", "localhost:9100", "localhost"] {
            assert!(names_this_machine(host), "{host}");
        }
        for host in ["example.org", "example.org:9100", "127.0.0.1.example.org:80", "", "localhost.example.org"] {
            assert!(!names_this_machine(host), "{host}");
        }
    }

    async fn ask(address: SocketAddr, host: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Whoever is on this machine may connect and say nothing, as often as they like: the next scrape is answered all the same.
    #[tokio::test]
    async fn connections_that_say_nothing_end_and_scrapes_are_answered() {
        let (_sender, latest) = watch::channel(Some(sample()));
        let endpoint = Endpoint::start("127.0.0.1:0".parse().unwrap(), latest).await.unwrap();
        let mut silent = Vec::new();
        for _ in 0..17 {
            silent.push(tokio::net::TcpStream::connect(endpoint.address).await.unwrap());
        }
        assert!(ask(endpoint.address, "127.0.0.1").await.starts_with("HTTP/1.1 200 "));
        let mut first = silent.swap_remove(0);
        let ended = tokio::time::timeout(std::time::Duration::from_secs(60), first.read_u8()).await.unwrap();
        ended.expect_err("nothing but the end");
    }

    #[tokio::test]
    async fn figures_come_once_there_are_some_and_only_to_who_asks_by_address() {
        let (sender, latest) = watch::channel(None);
        let endpoint = Endpoint::start("127.0.0.1:0".parse().unwrap(), latest).await.unwrap();
        assert!(ask(endpoint.address, "127.0.0.1").await.starts_with("HTTP/1.1 503 "));
        sender.send_replace(Some(sample()));
        let answer = ask(endpoint.address, "127.0.0.1").await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("zmesh_circuits 0.0"), "{answer}");
        assert!(ask(endpoint.address, "rebound.example").await.starts_with("HTTP/1.1 403 "));
    }
}
