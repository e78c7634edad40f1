//! A relay's own descriptor over a link, before there is any circuit: an origin that knows nothing but a bootstrap line
//! asks for it, and a relay gives it.
//!
//! A request fills a long datagram, as its answer does, so nobody gets more out of a relay than was put in, and only over
//! a link whose handshake has proven an address. What a relay gives is bounded for each link and for all of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::core::{Core, Timer};
use super::{DescriptorFailure, Event, FetchError, FetchId};
use crate::link::{DescriptorPart, LinkId, LinkPeer};
use crate::relay::budget::RateLimit;
use crate::wire::descriptor::{DESCRIPTOR_MAX, Descriptor};
use crate::wire::frame::{DocParts, Frame, PART_LEN};

/// Parts that one link is given at once, and then in a second: a descriptor with all repetitions, and then hardly more.
const LINK_BURST: u32 = 24;
const LINK_PER_SECOND: u32 = 1;
/// Parts that all links together are given at once, and then in a second: about 270 kB.
const NODE_BURST: u32 = 512;
const NODE_PER_SECOND: u32 = 256;

/// Fetches of one node at once.
const FETCHES_MAX: usize = 8;
/// The first wait for a part; it doubles with each try.
const FIRST_WAIT: Duration = Duration::from_millis(400);
const LONGEST_WAIT: Duration = Duration::from_secs(3);
/// How long a fetch may take, the link's handshake included.
const PATIENCE: Duration = Duration::from_secs(15);
/// So often may a relay's descriptor change under a fetch.
const CHANGES_MAX: u32 = 2;

/// What a relay gives.
pub(super) struct Giver {
    own: DocParts,
    node: RateLimit,
    links: BTreeMap<LinkId, RateLimit>,
}

impl Giver {
    pub(super) fn new(now: Instant) -> Self {
        Self { own: DocParts::cut(&[], 0), node: RateLimit::new(NODE_BURST, now), links: BTreeMap::new() }
    }

    /// Gives this descriptor from now on.
    pub(super) fn set(&mut self, descriptor: &Descriptor) {
        // The end of the signature: another descriptor has another one.
        let bytes = descriptor.as_bytes();
        let tag = bytes.last_chunk::<4>().copied().map_or(0, u32::from_be_bytes);
        self.own = DocParts::cut(bytes, tag);
    }

    /// A peer asks for a part.
    pub(super) fn asked(&mut self, core: &mut Core, now: Instant, link: LinkId, part: u8) {
        let fresh = RateLimit::new(LINK_BURST, now);
        let of_link = self.links.entry(link).or_insert(fresh);
        let allowed = of_link.take(now, LINK_PER_SECOND, LINK_BURST)
            && self.node.take(now, NODE_PER_SECOND, NODE_BURST)
            && self.own.part(part).is_some_and(|part| core.links.send_document(now, link, &Frame::DocPart(part)));
        let metrics = &mut core.metrics.descriptors;
        *if allowed { &mut metrics.parts_given } else { &mut metrics.parts_refused } += 1;
    }

    pub(super) fn link_down(&mut self, link: LinkId) {
        self.links.remove(&link);
    }
}

/// What an origin fetches.
pub(super) struct Fetches {
    under_way: BTreeMap<u64, Fetch>,
    next: u64,
}

struct Fetch {
    link: LinkId,
    began: Instant,
    tries: u32,
    changes: u32,
    /// Length and tag of the descriptor, once the first part has come.
    whole: Option<(usize, u32)>,
    parts: Vec<Option<Vec<u8>>>,
}

impl Fetch {
    fn missing(&self) -> impl Iterator<Item = u8> + '_ {
        let numbered = self.parts.iter().zip(0u8..).filter(|(part, _)| part.is_none());
        let known = numbered.map(|(_, number)| number);
        known.chain(self.whole.is_none().then_some(0))
    }

    /// Asks for what is missing and sets the time to ask again.
    fn ask(&mut self, core: &mut Core, now: Instant, key: u64) {
        for part in self.missing() {
            // What does not leave now is asked for again.
            let _ = core.links.send_document(now, self.link, &Frame::DocGet { part });
        }
        let wait = (FIRST_WAIT * (1 << self.tries.min(4))).min(LONGEST_WAIT);
        self.tries += 1;
        core.timers.set(Timer::Fetch(key), (now + wait).min(self.began + PATIENCE));
    }

    /// Takes a part; says whether it was one to go on with.
    fn take(&mut self, part: DescriptorPart) -> Result<Taken, DescriptorFailure> {
        let whole = (part.whole_len, part.tag);
        if part.part == 0 && self.whole != Some(whole) {
            if part.whole_len == 0 {
                return Err(DescriptorFailure::None);
            }
            if part.whole_len > DESCRIPTOR_MAX || self.changes > CHANGES_MAX {
                return Err(DescriptorFailure::Unreadable);
            }
            self.changes += 1;
            self.whole = Some(whole);
            self.parts = vec![None; part.whole_len.div_ceil(PART_LEN)];
            self.parts[0] = Some(part.bytes);
            return Ok(if self.parts.len() == 1 { Taken::All } else { Taken::First });
        }
        let place = self.parts.get_mut(usize::from(part.part)).filter(|_| self.whole == Some(whole));
        match place {
            Some(place @ None) => *place = Some(part.bytes),
            _ => return Ok(Taken::Nothing),
        }
        Ok(if self.parts.iter().all(Option::is_some) { Taken::All } else { Taken::Nothing })
    }
}

/// What a part changed.
enum Taken {
    Nothing,
    First,
    All,
}

impl Fetches {
    pub(super) const fn new() -> Self {
        Self { under_way: BTreeMap::new(), next: 0 }
    }

    /// Begins a fetch.
    pub(super) fn begin(&mut self, core: &mut Core, now: Instant, peer: &LinkPeer) -> Result<FetchId, FetchError> {
        if self.under_way.len() >= FETCHES_MAX {
            return Err(FetchError::TooMany);
        }
        let link = core.connect_to(now, peer).map_err(FetchError::Link)?;
        let key = self.next;
        self.next += 1;
        let mut fetch = Fetch { link, began: now, tries: 0, changes: 0, whole: None, parts: Vec::new() };
        if core.links.is_up(link) {
            fetch.ask(core, now, key);
        } else {
            core.timers.set(Timer::Fetch(key), now + PATIENCE);
        }
        self.under_way.insert(key, fetch);
        Ok(FetchId(key))
    }

    pub(super) fn link_up(&mut self, core: &mut Core, now: Instant, link: LinkId) {
        for (key, fetch) in self.under_way.iter_mut().filter(|(_, fetch)| fetch.link == link && fetch.tries == 0) {
            fetch.ask(core, now, *key);
        }
    }

    pub(super) fn link_down(&mut self, core: &mut Core, link: LinkId) {
        let lost: Vec<u64> =
            self.under_way.iter().filter(|(_, fetch)| fetch.link == link).map(|(key, _)| *key).collect();
        for key in lost {
            self.fail(core, key, DescriptorFailure::Unreachable);
        }
    }

    pub(super) fn handle_timer(&mut self, core: &mut Core, now: Instant, key: u64) {
        let Some(fetch) = self.under_way.get_mut(&key) else { return };
        if now >= fetch.began + PATIENCE {
            let failure = if fetch.tries == 0 { DescriptorFailure::Unreachable } else { DescriptorFailure::NoAnswer };
            return self.fail(core, key, failure);
        }
        fetch.ask(core, now, key);
    }

    /// A part came on a link; which fetch it belongs to is nobody's choice but this node's.
    pub(super) fn handle_part(&mut self, core: &mut Core, now: Instant, link: LinkId, part: &DescriptorPart) {
        let keys: Vec<u64> =
            self.under_way.iter().filter(|(_, fetch)| fetch.link == link).map(|(key, _)| *key).collect();
        if keys.is_empty() {
            core.metrics.descriptors.parts_unasked += 1;
        }
        for key in keys {
            let Some(fetch) = self.under_way.get_mut(&key) else { continue };
            match fetch.take(part.clone()) {
                Ok(Taken::Nothing) => {}
                Ok(Taken::First) => fetch.ask(core, now, key),
                Ok(Taken::All) => {
                    let descriptor = fetch.parts.iter().flatten().flatten().copied().collect();
                    self.end(core, key);
                    core.tell(Event::Descriptor { fetch: FetchId(key), descriptor });
                }
                Err(failure) => self.fail(core, key, failure),
            }
        }
    }

    fn fail(&mut self, core: &mut Core, key: u64, reason: DescriptorFailure) {
        self.end(core, key);
        core.tell(Event::DescriptorFailed { fetch: FetchId(key), reason });
    }

    fn end(&mut self, core: &mut Core, key: u64) {
        self.under_way.remove(&key);
        core.timers.cancel(Timer::Fetch(key));
    }
}

#[cfg(test)]
impl Giver {
    /// As a relay that has none.
    pub(super) fn clear(&mut self) {
        self.own = DocParts::cut(&[], 0);
    }

    /// A link over which somebody asked.
    pub(super) fn any_link(&self) -> LinkId {
        *self.links.keys().next().expect("somebody asked")
    }

    /// As a relay that makes them up.
    pub(super) fn set_parts(&mut self, parts: DocParts) {
        self.own = parts;
    }
}

#[cfg(test)]
impl super::Node {
    pub(super) fn giver_mut(&mut self) -> &mut Giver {
        self.giver.as_mut().expect("a relay")
    }
}
