//! What lets a loaded responder work for honest initiators only.
//!
//! Every handshake message ends in `mac1`, keyed by the responder's identity: datagrams of those who do not even know
//! whom they talk to die before any public-key work. A loaded responder also wants `mac2`, keyed by a cookie that it
//! hands to the sender's address: then the work goes to those who receive at the address they claim. A cookie is a MAC
//! over that address under a secret that changes every two minutes; the previous secret stays good.
//!
//! Anyone with the directory can compute `mac1`: it keeps junk out, it hides nothing.

use std::net::{IpAddr, SocketAddr};

use hkdf::Hkdf;
use rand_core::Rng;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::clock::{Nanos, SECOND};
use crate::wire::datagram::{COOKIE_REPLY_LEN, HEADER_LEN, Header, Kind, L_LEN};

const MAC1_CONTEXT: &[u8] = b"zmesh link mac1 v1";
const COOKIE_CONTEXT: &[u8] = b"zmesh link cookie v1";
const ROTATE: Nanos = 120 * SECOND;
/// Networks (IPv4 addresses, IPv6 /48) fall into so many places by a keyed hash.
const PLACES: usize = 1024;
/// A place gets a cookie at most this often.
const TURN: Nanos = SECOND / 20;
/// How long an initiator trusts a cookie.
pub(super) const COOKIE_LIFETIME: Nanos = 110 * SECOND;
/// Where `mac1` begins in a handshake message.
pub(super) const MAC1_AT: usize = L_LEN - 32;
const MAC2_AT: usize = L_LEN - 16;

/// A 16-byte authenticator.
pub(super) type Mac = [u8; 16];

/// HMAC-SHA-256, cut to 16 bytes. (HKDF's extraction is HMAC with the salt as key.)
fn mac(key: &[u8], data: &[u8]) -> Mac {
    let (full, _) = Hkdf::<Sha256>::extract(Some(key), data);
    let mut out = [0; 16];
    out.copy_from_slice(&full[..16]);
    out
}

/// The key of `mac1` for messages to and from the responder with this identity.
pub(super) fn mac1_key(responder: &[u8; 32]) -> [u8; 32] {
    Sha256::new().chain_update(MAC1_CONTEXT).chain_update(responder).finalize().into()
}

/// Writes `mac1`, and `mac2` when there is a cookie. Returns `mac1`.
pub(super) fn stamp(message: &mut [u8; L_LEN], key: &[u8; 32], cookie: Option<&Mac>) -> Mac {
    let mac1 = mac(key, &message[..MAC1_AT]);
    message[MAC1_AT..MAC2_AT].copy_from_slice(&mac1);
    let mac2 = cookie.map_or([0; 16], |cookie| mac(cookie, &message[..MAC2_AT]));
    message[MAC2_AT..].copy_from_slice(&mac2);
    mac1
}

/// `mac1` of a handshake message, if it is right.
pub(super) fn check_mac1(message: &[u8], key: &[u8; 32]) -> Option<Mac> {
    let claimed: Mac = message.get(MAC1_AT..MAC2_AT)?.try_into().ok()?;
    bool::from(mac(key, &message[..MAC1_AT]).ct_eq(&claimed)).then_some(claimed)
}

/// A responder's cookie secrets.
pub(super) struct CookieJar {
    current: Zeroizing<[u8; 32]>,
    previous: Zeroizing<[u8; 32]>,
    rotated: Nanos,
    /// When the networks that fall into each place were last given a cookie.
    given: Box<[Nanos; PLACES]>,
}

impl CookieJar {
    pub(super) fn new(rng: &mut impl Rng, now: Nanos) -> Self {
        let mut jar = Self {
            current: Zeroizing::default(),
            previous: Zeroizing::default(),
            rotated: now,
            given: Box::new([0; PLACES]),
        };
        rng.fill_bytes(&mut *jar.current);
        rng.fill_bytes(&mut *jar.previous);
        jar
    }

    fn rotate(&mut self, rng: &mut impl Rng, now: Nanos) {
        let age = now.saturating_sub(self.rotated);
        if age < ROTATE {
            return;
        }
        self.previous = self.current.clone();
        rng.fill_bytes(&mut *self.current);
        if age >= 2 * ROTATE {
            rng.fill_bytes(&mut *self.previous);
        }
        self.rotated = now;
    }

    /// Whether a sender may be given a cookie now: each network in its turn, so that no single one takes the node's
    /// whole allowance for cookies.
    pub(super) fn has_turn(&mut self, rng: &mut impl Rng, now: Nanos, from: SocketAddr) -> bool {
        self.rotate(rng, now);
        let network = match from.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
            IpAddr::V6(ip) => ip.to_bits() & (u128::MAX << 80),
        };
        let [high, low, ..] = mac(&*self.current, &network.to_be_bytes());
        let given = &mut self.given[usize::from(u16::from_be_bytes([high, low])) % PLACES];
        let turn = now >= *given;
        if turn {
            *given = now + TURN;
        }
        turn
    }

    /// Whether `mac2` of the message proves its sender's address.
    pub(super) fn proves(&mut self, rng: &mut impl Rng, now: Nanos, message: &[u8], from: SocketAddr) -> bool {
        self.rotate(rng, now);
        let Some(claimed) = message.get(MAC2_AT..) else {
            return false;
        };
        [&self.current, &self.previous].into_iter().any(|secret| {
            let cookie = cookie(secret, from);
            bool::from(mac(&cookie, &message[..MAC2_AT]).ct_eq(claimed))
        })
    }

    /// The cookie reply to a first message with this `mac1`, much shorter than the message itself.
    pub(super) fn reply(
        &mut self,
        rng: &mut impl Rng,
        now: Nanos,
        responder: &[u8; 32],
        index: u32,
        mac1: &Mac,
        from: SocketAddr,
    ) -> [u8; COOKIE_REPLY_LEN] {
        self.rotate(rng, now);
        let mut out = [0; COOKIE_REPLY_LEN];
        let header = Header { kind: Kind::Cookie, suite: 0, index, counter: 0 };
        out[..HEADER_LEN].copy_from_slice(&header.to_bytes());
        rng.fill_bytes(&mut out[HEADER_LEN..HEADER_LEN + 32]);
        let (mask, key) = reply_keys(responder, mac1, &out);
        let cookie = cookie(&self.current, from);
        for (at, (a, b)) in cookie.iter().zip(&mask).enumerate() {
            out[HEADER_LEN + 32 + at] = a ^ b;
        }
        let tag = mac(&key, &out[..COOKIE_REPLY_LEN - 16]);
        out[COOKIE_REPLY_LEN - 16..].copy_from_slice(&tag);
        out
    }
}

/// The cookie in a reply to the message with this `mac1`, if the reply is authentic.
pub(super) fn open_reply(reply: &[u8], responder: &[u8; 32], mac1: &Mac) -> Option<Mac> {
    let reply: &[u8; COOKIE_REPLY_LEN] = reply.try_into().ok()?;
    let (mask, key) = reply_keys(responder, mac1, reply);
    let tag = mac(&key, &reply[..COOKIE_REPLY_LEN - 16]);
    if !bool::from(tag.ct_eq(&reply[COOKIE_REPLY_LEN - 16..])) {
        return None;
    }
    let mut cookie = [0; 16];
    for (at, out) in cookie.iter_mut().enumerate() {
        *out = reply[HEADER_LEN + 32 + at] ^ mask[at];
    }
    Some(cookie)
}

/// HKDF(salt = nonce, ikm = mac1, info = context ‖ responder): mask 16 ‖ authenticator key 32.
fn reply_keys(responder: &[u8; 32], mac1: &Mac, reply: &[u8; COOKIE_REPLY_LEN]) -> (Mac, [u8; 32]) {
    let mut okm = [0; 48];
    Hkdf::<Sha256>::new(Some(&reply[HEADER_LEN..HEADER_LEN + 32]), mac1)
        .expand_multi_info(&[COOKIE_CONTEXT, responder], &mut okm)
        .expect("48 bytes are within HKDF's limit");
    let (mut mask, mut key) = ([0; 16], [0; 32]);
    mask.copy_from_slice(&okm[..16]);
    key.copy_from_slice(&okm[16..]);
    (mask, key)
}

fn cookie(secret: &[u8; 32], from: SocketAddr) -> Mac {
    let mut bytes = [0; 18];
    let ip = match from.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    bytes[..16].copy_from_slice(&ip.octets());
    bytes[16..].copy_from_slice(&from.port().to_be_bytes());
    mac(secret, &bytes)
}

impl std::fmt::Debug for CookieJar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CookieJar([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha12Rng;
    use rand_core::SeedableRng;

    const RESPONDER: [u8; 32] = [7; 32];

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn a_cookie_proves_its_own_address_for_two_to_four_minutes() {
        let mut rng = ChaCha12Rng::from_seed([1; 32]);
        let mut jar = CookieJar::new(&mut rng, 0);
        let key = mac1_key(&RESPONDER);
        let mut message = [9; L_LEN];
        let mac1 = stamp(&mut message, &key, None);
        assert!(!jar.proves(&mut rng, 0, &message, address(1)));
        let reply = jar.reply(&mut rng, 0, &RESPONDER, 5, &mac1, address(1));
        let cookie = open_reply(&reply, &RESPONDER, &mac1).expect("authentic");
        assert_eq!(stamp(&mut message, &key, Some(&cookie)), mac1, "mac1 does not depend on the cookie");
        assert!(jar.proves(&mut rng, SECOND, &message, address(1)));
        assert!(!jar.proves(&mut rng, SECOND, &message, address(2)));
        assert!(jar.proves(&mut rng, 121 * SECOND, &message, address(1)), "the previous secret is still good");
        assert!(!jar.proves(&mut rng, 242 * SECOND, &message, address(1)));
    }

    #[test]
    fn a_reply_opens_for_its_request_only_and_unaltered() {
        let mut rng = ChaCha12Rng::from_seed([2; 32]);
        let mut jar = CookieJar::new(&mut rng, 0);
        let reply = jar.reply(&mut rng, 0, &RESPONDER, 5, &[3; 16], address(1));
        assert!(open_reply(&reply, &RESPONDER, &[4; 16]).is_none());
        assert!(open_reply(&reply, &[8; 32], &[3; 16]).is_none());
        for at in 0..reply.len() {
            let mut altered = reply;
            altered[at] ^= 1;
            assert!(open_reply(&altered, &RESPONDER, &[3; 16]).is_none(), "byte {at}");
        }
    }

    #[test]
    fn one_network_does_not_take_the_cookies_of_others() {
        let mut rng = ChaCha12Rng::from_seed([3; 32]);
        let mut jar = CookieJar::new(&mut rng, 0);
        let greedy = (0..1000).filter(|at| jar.has_turn(&mut rng, SECOND + at * SECOND / 1000, address(1))).count();
        assert_eq!(greedy, 20, "twenty in a second, whatever the port");
        let others = (0..100).filter(|last| {
            let other = SocketAddr::from(([198, 51, 100, *last], 1));
            jar.has_turn(&mut rng, 2 * SECOND, other)
        });
        assert!(others.count() > 80, "a few share a place");
    }

    #[test]
    fn mac1_covers_every_byte_before_it() {
        let key = mac1_key(&RESPONDER);
        let mut message = [9; L_LEN];
        stamp(&mut message, &key, None);
        assert!(check_mac1(&message, &key).is_some());
        assert!(check_mac1(&message, &mac1_key(&[8; 32])).is_none());
        for at in (0..MAC1_AT).step_by(97) {
            let mut altered = message;
            altered[at] ^= 0x80;
            assert!(check_mac1(&altered, &key).is_none(), "byte {at}");
        }
    }
}
