//! The greeting: what two nodes tell each other of themselves right after the handshake.
//!
//! The handshake (Noise XX over TCP, TLS 1.3 over QUIC) has proven both identities by then, so what a greeting claims
//! is claimed by the holder of that identity, over a channel that nobody else reads. See decision 0212.

use std::fmt;

use prost::Message;
use zmesh_proto::wire::document::NetworkId;

use crate::limits::HELLO_MAX;

/// The version of the greeting. Fields are added without raising it; readers pass over what they do not know.
const VERSION: u32 = 1;
const DESCRIPTOR_MAX: usize = 6_144;

/// What a node says of itself.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Claims {
    /// Whether its identity lasts, so that it is worth remembering.
    pub lasting: bool,
    /// Its signed descriptor, if it is a relay; at most 6,144 bytes.
    pub descriptor: Vec<u8>,
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claims").field("lasting", &self.lasting).finish_non_exhaustive()
    }
}

#[derive(Clone, PartialEq, Message)]
struct Wire {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(bytes = "vec", tag = "2")]
    network: Vec<u8>,
    #[prost(bool, tag = "3")]
    lasting: bool,
    #[prost(bytes = "vec", tag = "4")]
    descriptor: Vec<u8>,
}

/// Why a greeting was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HelloError {
    /// No protobuf of this form.
    #[error("the greeting is malformed")]
    Malformed,
    /// A field is longer than its bound.
    #[error("the greeting has a field that is too long")]
    TooLong,
    /// Of a version that this node does not speak.
    #[error("the greeting is of version {0}")]
    Version(u32),
    /// For another network.
    #[error("the greeting is for another network")]
    OtherNetwork,
}

/// Writes a greeting.
#[must_use]
pub fn encode(network: &NetworkId, claims: &Claims) -> Vec<u8> {
    let claims = claims.clone();
    let wire =
        Wire { version: VERSION, network: network.0.to_vec(), lasting: claims.lasting, descriptor: claims.descriptor };
    wire.encode_to_vec()
}

/// Reads a greeting.
///
/// # Errors
/// See [`HelloError`].
pub fn decode(network: &NetworkId, bytes: &[u8]) -> Result<Claims, HelloError> {
    if bytes.len() > HELLO_MAX {
        return Err(HelloError::TooLong);
    }
    let wire = Wire::decode(bytes).map_err(|_| HelloError::Malformed)?;
    if wire.version != VERSION {
        return Err(HelloError::Version(wire.version));
    }
    if wire.network != network.0 {
        return Err(HelloError::OtherNetwork);
    }
    if wire.descriptor.len() > DESCRIPTOR_MAX {
        return Err(HelloError::TooLong);
    }
    let Wire { lasting, descriptor, .. } = wire;
    Ok(Claims { lasting, descriptor })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NETWORK: NetworkId = NetworkId([7; 32]);

    proptest! {
        #[test]
        fn greetings_come_back(lasting: bool, descriptor in proptest::collection::vec(any::<u8>(), 0..100)) {
            let claims = Claims { lasting, descriptor };
            prop_assert_eq!(decode(&NETWORK, &encode(&NETWORK, &claims)), Ok(claims));
        }

        #[test]
        fn any_bytes_are_a_greeting_or_an_error(bytes: Vec<u8>) {
            let _ = decode(&NETWORK, &bytes);
        }
    }

    #[test]
    fn a_greeting_for_others_is_refused() {
        let claims = Claims::default();
        assert_eq!(decode(&NetworkId([8; 32]), &encode(&NETWORK, &claims)), Err(HelloError::OtherNetwork));
        assert_eq!(decode(&NETWORK, &[]), Err(HelloError::Version(0)));
        let long = Claims { descriptor: vec![0; 6_145], ..Claims::default() };
        assert_eq!(decode(&NETWORK, &encode(&NETWORK, &long)), Err(HelloError::TooLong));
    }

    #[test]
    fn fields_of_later_versions_are_passed_over() {
        let claims = Claims { lasting: true, ..Claims::default() };
        let mut bytes = encode(&NETWORK, &claims);
        // Field 15, three bytes.
        bytes.extend_from_slice(&[0x7a, 0x03, 1, 2, 3]);
        assert_eq!(decode(&NETWORK, &bytes), Ok(claims));
    }
}
