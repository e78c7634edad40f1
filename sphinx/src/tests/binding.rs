//! A set-up is bound to every bit of its packet, also where the last hop is in league with whoever altered it.

use crate::{
    Error, Next, PACKET_LEN, Packet, REPLY_LEN, RelayId, body, create,
    group::OnionSecret,
    header::{HEADER_LEN, SphinxKeys},
    reply::ReplySeal,
};

const SLOT: u32 = 9;

/// What the best colluding last hop does with an altered body: it knows what the body must have been (its own layer over zeros), puts that
/// back and goes on as if nothing had happened. So neither its check nor its own part of the reply gives the alteration away.
fn mended(bytes: &[u8; PACKET_LEN], id: &RelayId, onion: &OnionSecret) -> Result<Packet, Error> {
    let packet = Packet::from_bytes(bytes)?;
    let mut alpha = [0; 32];
    alpha.copy_from_slice(&bytes[..32]);
    let shared = onion.agree(&crate::group::decode(&alpha)?);
    let keys = SphinxKeys::new(&shared, id, &onion.public(), &alpha);
    let mut mended = *packet.as_bytes();
    mended[HEADER_LEN..].copy_from_slice(&body::create([keys.body()].iter())[0]);
    Packet::from_bytes(&mended)
}

fn reply(seals: Vec<ReplySeal>) -> [u8; REPLY_LEN] {
    let mut seals = seals.into_iter().rev();
    let innermost = seals.next().unwrap().last();
    seals.fold(innermost, |inner, seal| seal.forward(&inner))
}

/// Builds a circuit of `hops` relays, of which the last one colludes; flips one bit of byte `at` on link `link` (0: before the first
/// relay). Returns what the relay behind that link said, or else what the origin said.
fn set_up(hops: u8, link: usize, at: usize) -> Result<(), (usize, Error)> {
    let mut rng = super::rng(u64::from(hops));
    let (relays, path) = super::relays(hops, &mut rng);
    let (packet, pending) = create(&path, SLOT, &mut rng).unwrap();
    let mut bytes = *packet.as_bytes();
    let mut seals = Vec::new();
    for (number, (id, onion)) in relays.iter().enumerate() {
        if number == link {
            bytes[at] ^= 1 << (at % 8);
        }
        let last = number + 1 == relays.len();
        let packet = if last { mended(&bytes, id, onion) } else { Packet::from_bytes(&bytes) };
        let unwrapped = packet
            .and_then(|packet| packet.peel_header(id, onion, SLOT))
            .and_then(|peeled| peeled.finish(&mut rng, super::start()))
            .map_err(|error| (number, error))?;
        seals.push(unwrapped.reply);
        match unwrapped.next {
            Next::Forward { packet, .. } => bytes = *packet.as_bytes(),
            Next::Last => break,
        }
    }
    pending.finish(&reply(seals), super::start()).map(|_| ()).map_err(|error| (relays.len(), error))
}

#[test]
fn no_altered_packet_passes_an_honest_hop_whatever_the_last_hop_does() {
    for hops in 2..=4 {
        // Every link whose receiver is honest, that is, all but the last one.
        for link in 0..usize::from(hops) - 1 {
            for at in 0..PACKET_LEN {
                let (refused_by, error) = set_up(hops, link, at).expect_err("an altered packet was taken");
                if at < HEADER_LEN {
                    assert_eq!(refused_by, link, "byte {at}");
                    assert!(matches!(error, Error::InvalidElement | Error::HeaderRefused), "byte {at}: {error}");
                } else {
                    // Every relay went on. The origin did not.
                    assert_eq!((refused_by, error), (usize::from(hops), Error::ReplyRefused), "byte {at}");
                }
            }
        }
    }
}

/// The limit of it, and that the colluding hop above does all that can be done: between the last hop and its neighbour nobody honest
/// looks, so two neighbours in league learn what they know anyway.
#[test]
fn an_alteration_that_only_the_colluder_receives_is_his_secret() {
    for hops in 2..=4 {
        for at in HEADER_LEN..PACKET_LEN {
            assert_eq!(set_up(hops, usize::from(hops) - 1, at), Ok(()));
        }
    }
}
