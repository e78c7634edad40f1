//! TLS 1.3 with raw public keys (RFC 7250): an exit proves the key in the network document, and its clients prove nothing. Service and
//! client prove keys that only they two can have: see [`zmesh_proto::service::tls`].

use std::sync::Arc;

use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::{
    CertificateError, CipherSuite, DigitallySignedStruct, DistinguishedName, Error, NamedGroup, SignatureScheme, sign,
};
use zmesh_proto::service::tls::TlsKey;

/// The application protocol that both sides must name, at an exit and at a service. The first version for services had clients prove nothing.
pub(crate) const EXIT: &[u8] = b"zmesh-exit/1";
pub(crate) const SERVICE: &[u8] = b"zmesh-service/2";

/// The name in the client's configuration; it never leaves the machine, because SNI is off.
pub(crate) const SERVER_NAME: &str = "exit.zmesh.invalid";

/// What comes before the 32 key bytes in the DER of an Ed25519 `SubjectPublicKeyInfo` (RFC 8410, 4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

fn public_key_info(key: &[u8; 32]) -> Vec<u8> {
    [&SPKI_PREFIX[..], key].concat()
}

/// AES-128-GCM and ChaCha20-Poly1305; X25519 with ML-KEM-768 first, X25519 alone for a peer without it.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| {
        matches!(suite.suite(), CipherSuite::TLS13_AES_128_GCM_SHA256 | CipherSuite::TLS13_CHACHA20_POLY1305_SHA256)
    });
    provider.kx_groups.retain(|group| matches!(group.name(), NamedGroup::X25519MLKEM768 | NamedGroup::X25519));
    provider.kx_groups.sort_by_key(|group| group.name() != NamedGroup::X25519MLKEM768);
    Arc::new(provider)
}

/// Has the TLS library seed its generator for this thread. That takes tens of milliseconds, which must not fall into the
/// first handshake: it would hold up every circuit of the shard.
///
/// # Errors
/// The library has no randomness.
pub(crate) fn warm_up() -> Result<(), Error> {
    let random = aws_lc_rs::default_provider().secure_random;
    random.fill(&mut [0; 32]).map_err(|_| Error::FailedToGetRandomBytes)
}

/// The client's half for one exit or service: fresh for every connection, without resumption or early data. `own` is the key that it
/// proves, if it proves one.
///
/// # Errors
/// The TLS library refused the settings or the key.
pub(crate) fn client(
    peer_key: &[u8; 32],
    own: Option<&TlsKey>,
    protocol: &[u8],
) -> Result<rustls::ClientConfig, Error> {
    let provider = provider();
    let verifier = PeerKey::new(peer_key, &provider);
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let certified = certified(&own.pkcs8(), &own.public())?;
            builder.with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(certified)))
        }
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    config.enable_early_data = false;
    config.enable_sni = false;
    Ok(config)
}

/// The other half. `pkcs8` holds the Ed25519 secret of the key that it proves; `peer_key` is the one that clients have to prove, if they have
/// to prove one.
///
/// # Errors
/// The TLS library refused the key.
pub(crate) fn server(
    pkcs8: &[u8],
    public: &[u8; 32],
    peer_key: Option<&[u8; 32]>,
    protocol: &[u8],
) -> Result<rustls::ServerConfig, Error> {
    let provider = provider();
    let certified = certified(pkcs8, public)?;
    let verifier = peer_key.map(|key| PeerKey::new(key, &provider));
    let builder =
        rustls::ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13])?;
    let mut config = match verifier {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(Arc::new(verifier)),
    }
    .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(certified)));
    config.alpn_protocols = vec![protocol.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

fn certified(pkcs8: &[u8], public: &[u8; 32]) -> Result<Arc<sign::CertifiedKey>, Error> {
    let signer = aws_lc_rs::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8))?;
    Ok(Arc::new(sign::CertifiedKey::new(vec![CertificateDer::from(public_key_info(public))], signer)))
}

/// Accepts one raw public key and no other.
#[derive(Debug)]
struct PeerKey {
    expected: Vec<u8>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PeerKey {
    fn new(key: &[u8; 32], provider: &CryptoProvider) -> Self {
        Self { expected: public_key_info(key), algorithms: provider.signature_verification_algorithms }
    }

    fn check(&self, end_entity: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> Result<(), Error> {
        use subtle::ConstantTimeEq as _;
        if intermediates.is_empty() && bool::from(end_entity.as_ref().ct_eq(&self.expected)) {
            Ok(())
        } else {
            Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn check_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(cert.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, dss, &self.algorithms)
    }
}

/// TLS 1.2 is never spoken.
fn never() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::InvalidCertificate(CertificateError::BadSignature))
}

impl ServerCertVerifier for PeerKey {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, intermediates).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        never()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for PeerKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity, intermediates).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        never()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
