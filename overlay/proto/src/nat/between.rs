//! What a relay does for two nodes that cannot reach each other: it passes offers and answers on, and, when all else
//! fails, the datagrams of their link. It reads none of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand_core::Rng;

use crate::link::LinkId;

/// Offers that wait for their answers, of all links and of one.
const TICKETS: usize = 1024;
const TICKETS_OF_LINK: usize = 16;
/// How long an answer may take.
const TICKET_LIFE: Duration = Duration::from_secs(10);
/// Flows that are passed on, of all links and of one.
const FLOWS: usize = 1024;
const FLOWS_OF_LINK: usize = 64;
/// A flow on which nothing came for so long ends.
const FLOW_IDLE: Duration = Duration::from_secs(60);
/// Offers of one link: so many at once, and one more in each of these times.
const OFFERS_AT_ONCE: u32 = 8;
const OFFER_EVERY: Duration = Duration::from_millis(250);

/// What a relay passes on for others.
#[derive(Clone, Debug)]
pub struct BetweenConfig {
    /// Bytes a second of one flow, each way together.
    pub flow_bytes_per_second: u64,
    /// Bytes a second of all flows together.
    pub bytes_per_second: u64,
}

impl Default for BetweenConfig {
    fn default() -> Self {
        Self { flow_bytes_per_second: 512 << 10, bytes_per_second: 4 << 20 }
    }
}

#[derive(Clone, Copy, Debug)]
struct Ticket {
    asker: LinkId,
    /// The asker's number of the attempt.
    attempt: u32,
    target: LinkId,
    /// Flow numbers: at the asker, at the target.
    flows: (u32, u32),
    end: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Flow {
    link: LinkId,
    /// The number of the same flow at the other link.
    other: u32,
    used: Instant,
}

/// Bytes that may pass, refilled in time up to a second's worth.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    left: u64,
    at: Instant,
}

impl Allowance {
    fn take(&mut self, now: Instant, bytes: u64, rate: u64) -> bool {
        let passed = now.saturating_duration_since(self.at).as_millis();
        let refill = u64::try_from(passed).unwrap_or(u64::MAX).saturating_mul(rate) / 1000;
        if refill > 0 {
            self.left = self.left.saturating_add(refill).min(rate);
            self.at = now;
        }
        let fits = self.left >= bytes;
        if fits {
            self.left -= bytes;
        }
        fits
    }
}

/// Where an offer goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PassedOffer {
    pub(crate) ticket: [u8; 16],
    /// The flow's number at the target.
    pub(crate) flow: u32,
}

/// Where an answer goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PassedAnswer {
    pub(crate) asker: LinkId,
    pub(crate) attempt: u32,
    /// The flow's number at the asker.
    pub(crate) flow: u32,
}

/// Tickets and flows of a relay.
#[derive(Debug)]
pub(crate) struct Between {
    config: BetweenConfig,
    tickets: BTreeMap<[u8; 16], Ticket>,
    flows: BTreeMap<u32, Flow>,
    allowances: BTreeMap<u32, Allowance>,
    all: Allowance,
    offers: BTreeMap<LinkId, (u32, Instant)>,
    pub(crate) passed: u64,
    pub(crate) dropped: u64,
}

impl Between {
    pub(crate) fn new(config: BetweenConfig, now: Instant) -> Self {
        let all = Allowance { left: config.bytes_per_second, at: now };
        let (tickets, flows, allowances) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { config, tickets, flows, allowances, all, offers: BTreeMap::new(), passed: 0, dropped: 0 }
    }

    /// An offer for the peer of `target` has come. `None` when there is too much of that.
    pub(crate) fn offer(
        &mut self,
        now: Instant,
        asker: LinkId,
        attempt: u32,
        target: LinkId,
        rng: &mut impl Rng,
    ) -> Option<PassedOffer> {
        let waiting = self.tickets.values().filter(|ticket| ticket.asker == asker).count();
        let busy = |link| self.flows.values().filter(|flow| flow.link == link).count() >= FLOWS_OF_LINK;
        let full = self.tickets.len() >= TICKETS || self.flows.len() + 2 > 2 * FLOWS;
        if asker == target
            || full
            || waiting >= TICKETS_OF_LINK
            || busy(asker)
            || busy(target)
            || !self.turn(now, asker)
        {
            return None;
        }
        let mut ticket = [0; 16];
        rng.fill_bytes(&mut ticket);
        let at_asker = self.number(rng);
        self.flows.insert(at_asker, Flow { link: asker, other: 0, used: now });
        let at_target = self.number(rng);
        self.flows.insert(at_target, Flow { link: target, other: at_asker, used: now });
        if let Some(flow) = self.flows.get_mut(&at_asker) {
            flow.other = at_target;
        }
        self.allowances.insert(at_asker.min(at_target), Allowance { left: self.config.flow_bytes_per_second, at: now });
        let flows = (at_asker, at_target);
        self.tickets.insert(ticket, Ticket { asker, attempt, target, flows, end: now + TICKET_LIFE });
        Some(PassedOffer { ticket, flow: at_target })
    }

    fn turn(&mut self, now: Instant, asker: LinkId) -> bool {
        let (used, at) = self.offers.entry(asker).or_insert((0, now));
        let passed = now.saturating_duration_since(*at).as_millis() / OFFER_EVERY.as_millis();
        if passed > 0 {
            *used = used.saturating_sub(u32::try_from(passed).unwrap_or(u32::MAX));
            *at = now;
        }
        *used += 1;
        *used <= OFFERS_AT_ONCE
    }

    fn number(&self, rng: &mut impl Rng) -> u32 {
        loop {
            let number = rng.next_u32();
            if number != 0 && !self.flows.contains_key(&number) {
                return number;
            }
        }
    }

    /// An answer has come over `from`. Works once, and only over the link that got the offer.
    pub(crate) fn answer(&mut self, from: LinkId, ticket: [u8; 16]) -> Option<PassedAnswer> {
        let known = *self.tickets.get(&ticket).filter(|known| known.target == from)?;
        self.tickets.remove(&ticket);
        Some(PassedAnswer { asker: known.asker, attempt: known.attempt, flow: known.flows.0 })
    }

    /// The link that a flow's number belongs to.
    pub(crate) fn owner(&self, flow: u32) -> Option<LinkId> {
        self.flows.get(&flow).map(|flow| flow.link)
    }

    /// `bytes` have come over the flow's link: where they go on, and under which number, if they may.
    pub(crate) fn pass(&mut self, now: Instant, number: u32, bytes: usize) -> Option<(LinkId, u32)> {
        let other = {
            let flow = self.flows.get_mut(&number)?;
            flow.used = now;
            flow.other
        };
        let link = self.flows.get(&other)?.link;
        let bytes = bytes as u64;
        let rate = self.config.flow_bytes_per_second;
        let allowed = self.allowances.get_mut(&number.min(other))?.take(now, bytes, rate)
            && self.all.take(now, bytes, self.config.bytes_per_second);
        if !allowed {
            self.dropped += 1;
            return None;
        }
        self.passed += bytes;
        Some((link, other))
    }

    /// A link is gone: so are its tickets and flows. Gives the other links of those flows, and the numbers there.
    pub(crate) fn link_down(&mut self, link: LinkId) -> Vec<(LinkId, u32)> {
        self.tickets.retain(|_, ticket| ticket.asker != link && ticket.target != link);
        self.offers.remove(&link);
        let gone: Vec<u32> =
            self.flows.iter().filter(|(_, flow)| flow.link == link).map(|(number, _)| *number).collect();
        gone.into_iter().filter_map(|number| self.close(number)).collect()
    }

    fn close(&mut self, number: u32) -> Option<(LinkId, u32)> {
        let flow = self.flows.remove(&number)?;
        self.allowances.remove(&number.min(flow.other));
        let other = self.flows.remove(&flow.other)?;
        Some((other.link, flow.other))
    }

    /// Ends what nobody used or answered for long.
    pub(crate) fn sweep(&mut self, now: Instant) {
        self.tickets.retain(|_, ticket| ticket.end > now);
        let idle = |flow: &Flow| flow.used + FLOW_IDLE <= now;
        let idle: Vec<u32> = self
            .flows
            .iter()
            .filter(|(_, flow)| idle(flow) && self.flows.get(&flow.other).is_none_or(idle))
            .map(|(number, _)| *number)
            .collect();
        for number in idle {
            self.close(number);
        }
        self.offers.retain(|_, (_, at)| now.saturating_duration_since(*at) < TICKET_LIFE);
    }

    #[cfg(test)]
    pub(crate) fn flows(&self) -> usize {
        self.flows.len() / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::test_id;
    use crate::random::Generator;
    use crate::timer::any_instant;

    fn between() -> (Between, Instant, Generator) {
        let now = any_instant();
        (Between::new(BetweenConfig::default(), now), now, Generator::new(&[1; 32]))
    }

    #[test]
    fn an_answer_goes_back_once_and_only_from_whom_was_asked() {
        let (mut between, now, mut rng) = between();
        let passed = between.offer(now, test_id(1), 77, test_id(2), &mut rng).expect("there is room");
        assert_eq!(between.answer(test_id(3), passed.ticket), None, "somebody else's");
        let answer = between.answer(test_id(2), passed.ticket).expect("a ticket");
        assert_eq!((answer.asker, answer.attempt), (test_id(1), 77));
        assert_eq!(between.answer(test_id(2), passed.ticket), None, "twice");
        assert_eq!(between.pass(now, answer.flow, 100), Some((test_id(2), passed.flow)));
        assert_eq!(between.pass(now, passed.flow, 100), Some((test_id(1), answer.flow)));
    }

    #[test]
    fn offers_are_rationed() {
        let (mut between, now, mut rng) = between();
        let mut offer = |between: &mut Between, at| between.offer(at, test_id(1), 0, test_id(2), &mut rng).is_some();
        let at_once = (0..100).filter(|_| offer(&mut between, now)).count();
        assert_eq!(at_once, OFFERS_AT_ONCE as usize);
        assert!(offer(&mut between, now + Duration::from_secs(60)), "the ration comes back");
    }

    #[test]
    fn a_flow_has_its_rate() {
        let (mut between, now, mut rng) = between();
        let passed = between.offer(now, test_id(1), 0, test_id(2), &mut rng).expect("there is room");
        let rate = usize::try_from(between.config.flow_bytes_per_second).expect("fits");
        let count =
            |between: &mut Between, at| (0..10_000).filter(|_| between.pass(at, passed.flow, 1216).is_some()).count();
        assert_eq!(count(&mut between, now), rate / 1216);
        let later = count(&mut between, now + Duration::from_millis(500));
        assert!(later.abs_diff(rate / 2 / 1216) <= 1, "{later}");
    }

    #[test]
    fn flows_end_with_their_links_and_when_idle() {
        let (mut between, now, mut rng) = between();
        let one = between.offer(now, test_id(1), 0, test_id(2), &mut rng).expect("there is room");
        assert_eq!(between.link_down(test_id(1)), [(test_id(2), one.flow)]);
        assert_eq!((between.flows(), between.pass(now, one.flow, 1)), (0, None));
        let two = between.offer(now, test_id(3), 0, test_id(2), &mut rng).expect("there is room");
        between.pass(now + FLOW_IDLE / 2, two.flow, 1);
        between.sweep(now + FLOW_IDLE);
        assert_eq!(between.flows(), 1, "one of its ends was used lately");
        between.sweep(now + FLOW_IDLE * 2);
        assert_eq!((between.flows(), between.allowances.len()), (0, 0));
    }
}
