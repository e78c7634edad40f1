//! An HTTPS server with a certificate of its own making.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::server::{Server, answer_http};

/// Starts an HTTPS server at a free port of `ip` and gives its certificate in PEM form, for `curl --cacert`.
///
/// # Errors
/// When no port can be bound or no certificate made.
pub fn https(ip: IpAddr) -> io::Result<(Server, String)> {
    let made = rcgen::generate_simple_self_signed(vec![ip.to_string()]).map_err(io::Error::other)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let certificate = CertificateDer::from(made.cert.der().to_vec());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .map_err(io::Error::other)?;
    let config = Arc::new(config);
    let server = Server::streams(ip, move |stream, _| {
        let Ok(connection) = rustls::ServerConnection::new(Arc::clone(&config)) else {
            return;
        };
        let whoami = stream.peer_addr().map(|peer| peer.to_string()).unwrap_or_default();
        let mut stream = rustls::StreamOwned::new(connection, stream);
        // A client that goes away in the middle is not this server's concern.
        let _ = answer_http(&mut stream, |_| {}, &whoami);
        stream.conn.send_close_notify();
        let _ = stream.conn.write_tls(&mut stream.sock);
    })?;
    Ok((server, made.cert.pem()))
}
