//! What a relay does for two nodes that cannot reach each other: it passes offers and answers on, and, when all else
//! fails, the datagrams of their link. It reads none of them.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand_core::Rng;

use crate::link::LinkId;

/// Offers that wait for their answers, of all links and of one.
const TICKETS: usize = 1024;
const TICKETS_OF_LINK: usize = 16;
/// Offers that wait, and flows, from one link to one other.
const OF_PAIR: usize = 4;
/// How long an answer may take.
const TICKET_LIFE: Duration = Duration::from_secs(10);
/// Flows that are passed on, of all links and of one.
const FLOWS: usize = 1024;
const FLOWS_OF_LINK: usize = 64;
/// A flow on which nothing came for so long ends, and one on which nothing ever came.
const FLOW_IDLE: Duration = Duration::from_secs(60);
const FLOW_UNUSED: Duration = Duration::from_secs(10);
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
    /// The number at the target of the flow that an answer begins.
    flow: u32,
    end: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Flow {
    link: LinkId,
    /// The number of the same flow at the other link.
    other: u32,
    /// Whether this is the end of whoever asked.
    asker: bool,
    used: Instant,
    /// Whether anything has come by it, at either end.
    carried: bool,
}

/// A flow as a whole, when it is looked for one that gives way.
#[derive(Clone, Copy, Debug)]
struct Whole {
    /// At the asker.
    number: u32,
    asker: LinkId,
    target: LinkId,
    used: Instant,
    carried: bool,
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

/// The end of a flow: a link, and the flow's number there.
type FlowEnd = (LinkId, u32);

/// Where an answer goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PassedAnswer {
    pub(crate) asker: LinkId,
    pub(crate) attempt: u32,
    /// The flow's number at the asker.
    pub(crate) flow: u32,
    /// Flows that gave way to this one: both ends of each.
    pub(crate) closed: Vec<FlowEnd>,
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

    /// Whether one more offer of this link is passed on now. To be asked before anything is done for the offer.
    pub(crate) fn admits(&mut self, now: Instant, asker: LinkId) -> bool {
        self.turn(now, asker) && self.tickets.values().filter(|ticket| ticket.asker == asker).count() < TICKETS_OF_LINK
    }

    /// An offer for the peer of `target` has come, which [`admits`](Self::admits) allows. `None` when there is too much of
    /// that. Nothing is set up for it but the ticket: the flow begins with the answer.
    pub(crate) fn offer(
        &mut self,
        now: Instant,
        asker: LinkId,
        attempt: u32,
        target: LinkId,
        rng: &mut impl Rng,
    ) -> Option<PassedOffer> {
        let of_pair = |ticket: &&Ticket| ticket.asker == asker && ticket.target == target;
        if asker == target || self.tickets.values().filter(of_pair).count() >= OF_PAIR {
            return None;
        }
        if self.tickets.len() >= TICKETS {
            self.drop_ticket();
        }
        let mut ticket = [0; 16];
        rng.fill_bytes(&mut ticket);
        let flow = self.number(rng);
        self.tickets.insert(ticket, Ticket { asker, attempt, target, flow, end: now + TICKET_LIFE });
        Some(PassedOffer { ticket, flow })
    }

    /// Whoever has the most offers waiting loses the oldest.
    fn drop_ticket(&mut self) {
        let mut waiting: BTreeMap<LinkId, usize> = BTreeMap::new();
        self.tickets.values().for_each(|ticket| *waiting.entry(ticket.asker).or_default() += 1);
        let of = |ticket: &Ticket| waiting.get(&ticket.asker).copied();
        let drop = self.tickets.iter().max_by_key(|(_, ticket)| (of(ticket), Reverse(ticket.end)));
        if let Some(ticket) = drop.map(|(ticket, _)| *ticket) {
            self.tickets.remove(&ticket);
        }
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

    /// An answer has come over `from`: the flow begins. Works once, and only over the link that got the offer.
    pub(crate) fn answer(
        &mut self,
        now: Instant,
        from: LinkId,
        ticket: [u8; 16],
        rng: &mut impl Rng,
    ) -> Option<PassedAnswer> {
        let known = *self.tickets.get(&ticket).filter(|known| known.target == from)?;
        self.tickets.remove(&ticket);
        let Ticket { asker, attempt, target, flow: at_target, .. } = known;
        let mut gone = Vec::new();
        let room = !self.flows.contains_key(&at_target)
            && self.make_room(now, OF_PAIR, &mut gone, |flow| flow.asker == asker && flow.target == target)
            && self.make_room(now, FLOWS_OF_LINK, &mut gone, |flow| flow.asker == target || flow.target == target)
            && self.make_room(now, FLOWS_OF_LINK, &mut gone, |flow| flow.asker == asker || flow.target == asker)
            && self.make_room(now, FLOWS, &mut gone, |_| true);
        if !room {
            return None;
        }
        let closed = gone.into_iter().flat_map(|number| self.close(number)).collect();
        let end = |link, other, asker| Flow { link, other, asker, used: now, carried: false };
        self.flows.insert(at_target, end(target, 0, false));
        let at_asker = self.number(rng);
        self.flows.insert(at_asker, end(asker, at_target, true));
        if let Some(flow) = self.flows.get_mut(&at_target) {
            flow.other = at_asker;
        }
        self.allowances.insert(at_asker.min(at_target), Allowance { left: self.config.flow_bytes_per_second, at: now });
        Some(PassedAnswer { asker, attempt, flow: at_asker, closed })
    }

    /// Sees to it that fewer than `most` of some flows are left when those in `gone` are: of whoever asked for the most of
    /// them, the one goes that was silent for longest. When everybody has one and uses it, `false`.
    fn make_room(&self, now: Instant, most: usize, gone: &mut Vec<u32>, of: impl Fn(&Whole) -> bool) -> bool {
        let all: Vec<Whole> = self.wholes().filter(|flow| !gone.contains(&flow.number) && of(flow)).collect();
        if all.len() < most {
            return true;
        }
        let mut held: BTreeMap<LinkId, usize> = BTreeMap::new();
        all.iter().for_each(|flow| *held.entry(flow.asker).or_default() += 1);
        let held = |flow: &Whole| held.get(&flow.asker).copied().unwrap_or(0);
        let gives_way = |flow: &&Whole| {
            held(flow) > 1 || !flow.carried || now.saturating_duration_since(flow.used) >= FLOW_UNUSED * 2
        };
        let worst = all.iter().filter(gives_way).max_by_key(|flow| (held(flow), !flow.carried, Reverse(flow.used)));
        gone.extend(worst.map(|flow| flow.number));
        worst.is_some()
    }

    fn wholes(&self) -> impl Iterator<Item = Whole> {
        self.flows.iter().filter(|(_, flow)| flow.asker).filter_map(|(number, flow)| {
            let other = self.flows.get(&flow.other)?;
            let (used, carried) = (flow.used.max(other.used), flow.carried);
            Some(Whole { number: *number, asker: flow.link, target: other.link, used, carried })
        })
    }

    /// The link that a flow's number belongs to.
    pub(crate) fn owner(&self, flow: u32) -> Option<LinkId> {
        self.flows.get(&flow).map(|flow| flow.link)
    }

    /// `bytes` have come over the flow's link: where they go on, and under which number, if they may.
    pub(crate) fn pass(&mut self, now: Instant, number: u32, bytes: usize) -> Option<(LinkId, u32)> {
        let other = {
            let flow = self.flows.get_mut(&number)?;
            (flow.used, flow.carried) = (now, true);
            flow.other
        };
        let link = {
            let far = self.flows.get_mut(&other)?;
            far.carried = true;
            far.link
        };
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
    pub(crate) fn link_down(&mut self, link: LinkId) -> Vec<FlowEnd> {
        self.tickets.retain(|_, ticket| ticket.asker != link && ticket.target != link);
        self.offers.remove(&link);
        let gone: Vec<u32> =
            self.flows.iter().filter(|(_, flow)| flow.link == link).map(|(number, _)| *number).collect();
        gone.into_iter().flat_map(|number| self.close(number)).filter(|(other, _)| *other != link).collect()
    }

    /// Gives both ends of the flow.
    fn close(&mut self, number: u32) -> Vec<FlowEnd> {
        let Some(flow) = self.flows.remove(&number) else { return Vec::new() };
        self.allowances.remove(&number.min(flow.other));
        let other = self.flows.remove(&flow.other).map(|other| (other.link, flow.other));
        [(flow.link, number)].into_iter().chain(other).collect()
    }

    /// Ends what nobody used or answered for long. Gives both ends of flows that are closed: they are to be told.
    pub(crate) fn sweep(&mut self, now: Instant) -> Vec<FlowEnd> {
        self.tickets.retain(|_, ticket| ticket.end > now);
        let life = |flow: &Whole| if flow.carried { FLOW_IDLE } else { FLOW_UNUSED };
        let idle = |flow: &Whole| flow.used + life(flow) <= now;
        let idle: Vec<u32> = self.wholes().filter(idle).map(|flow| flow.number).collect();
        self.offers.retain(|_, (_, at)| now.saturating_duration_since(*at) < TICKET_LIFE);
        idle.into_iter().flat_map(|number| self.close(number)).collect()
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

    /// An offer that is answered at once.
    fn flow(between: &mut Between, now: Instant, from: u32, to: u32, rng: &mut Generator) -> Option<PassedAnswer> {
        let passed = between.offer(now, test_id(from), 0, test_id(to), rng)?;
        between.answer(now, test_id(to), passed.ticket, rng)
    }

    #[test]
    fn an_answer_goes_back_once_and_only_from_whom_was_asked() {
        let (mut between, now, mut rng) = between();
        let passed = between.offer(now, test_id(1), 77, test_id(2), &mut rng).expect("there is room");
        assert_eq!(between.answer(now, test_id(3), passed.ticket, &mut rng), None, "somebody else's");
        let answer = between.answer(now, test_id(2), passed.ticket, &mut rng).expect("a ticket");
        assert_eq!((answer.asker, answer.attempt), (test_id(1), 77));
        assert_eq!(between.answer(now, test_id(2), passed.ticket, &mut rng), None, "twice");
        assert_eq!(between.pass(now, answer.flow, 100), Some((test_id(2), passed.flow)));
        assert_eq!(between.pass(now, passed.flow, 100), Some((test_id(1), answer.flow)));
    }

    #[test]
    fn offers_are_rationed() {
        let (mut between, now, _) = between();
        let at_once = (0..100).filter(|_| between.admits(now, test_id(1))).count();
        assert_eq!(at_once, OFFERS_AT_ONCE as usize);
        assert!(between.admits(now + Duration::from_secs(60), test_id(1)), "the ration comes back");
    }

    #[test]
    fn offers_that_nobody_answers_set_up_nothing() {
        let (mut between, now, mut rng) = between();
        // A minute of offers from one link to one relay that does not answer: 0.6 kB/s.
        let mut passed = 0;
        for second in 0..60 {
            let now = now + Duration::from_secs(second);
            between.sweep(now);
            passed += usize::from(between.offer(now, test_id(1), 0, test_id(2), &mut rng).is_some());
            assert!(between.tickets.len() <= OF_PAIR);
        }
        assert!(passed > OF_PAIR && between.flows() == 0, "{passed}");
        assert!(flow(&mut between, now, 3, 2, &mut rng).is_some(), "somebody else gets through");
    }

    #[test]
    fn one_asker_does_not_keep_others_from_a_relay() {
        let (mut between, now, mut rng) = between();
        // Several links that all have their offers answered, and use what they got.
        for link in 100..100 + u32::try_from(FLOWS_OF_LINK).expect("small") {
            let own = flow(&mut between, now, link, 2, &mut rng).expect("it is answered");
            between.pass(now, own.flow, 100);
        }
        assert_eq!(between.flows(), FLOWS_OF_LINK);
        let own = flow(&mut between, now, 1, 2, &mut rng);
        assert!(own.is_none(), "everybody has one and uses it: nobody loses it");
        // Silent ones give way, and both ends hear of it.
        let later = now + FLOW_UNUSED * 2;
        let own = flow(&mut between, later, 1, 2, &mut rng).expect("there is room");
        assert_eq!((own.closed.len(), own.closed[1].0, between.flows()), (2, test_id(2), FLOWS_OF_LINK));
        // One that holds several loses one of them, however busy it is.
        let (mut between, now, mut rng) = self::between();
        for at in 0..FLOWS_OF_LINK {
            let link = 100 + u32::try_from(at / OF_PAIR).expect("small");
            let own = flow(&mut between, now, link, 2, &mut rng).expect("it is answered");
            between.pass(now, own.flow, 100);
        }
        assert!(flow(&mut between, now, 1, 2, &mut rng).is_some_and(|own| own.closed.len() == 2));
        // And nobody gets more than a few to one relay.
        for _ in 0..OF_PAIR * 2 {
            flow(&mut between, now, 1, 3, &mut rng).expect("it is answered");
        }
        assert_eq!(between.wholes().filter(|flow| flow.target == test_id(3)).count(), OF_PAIR);
    }

    #[test]
    fn when_offers_are_too_many_the_busiest_asker_loses_its_oldest() {
        let (mut between, now, mut rng) = between();
        let quiet = between.offer(now, test_id(9999), 0, test_id(1), &mut rng).expect("there is room");
        for at in 0..u32::try_from(TICKETS).expect("small") {
            between.offer(now, test_id(100 + at / 16), 0, test_id(2000 + at), &mut rng).expect("there is room");
        }
        assert_eq!(between.tickets.len(), TICKETS);
        assert!(between.tickets.contains_key(&quiet.ticket), "it was the first, and had one");
    }

    #[test]
    fn a_flow_has_its_rate() {
        let (mut between, now, mut rng) = between();
        let passed = flow(&mut between, now, 1, 2, &mut rng).expect("there is room");
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
        let one = flow(&mut between, now, 1, 2, &mut rng).expect("there is room");
        let other = between.flows[&one.flow].other;
        assert_eq!(between.link_down(test_id(1)), [(test_id(2), other)]);
        assert_eq!((between.flows(), between.pass(now, one.flow, 1)), (0, None));
        let two = flow(&mut between, now, 3, 2, &mut rng).expect("there is room");
        between.pass(now + FLOW_UNUSED / 2, two.flow, 1);
        assert_eq!(between.sweep(now + FLOW_IDLE), [], "one of its ends was used lately");
        let ends = between.sweep(now + FLOW_IDLE * 2);
        assert_eq!((ends.len(), ends[0].0, ends[1].0), (2, test_id(3), test_id(2)), "both are told");
        assert_eq!((between.flows(), between.allowances.len()), (0, 0));
        flow(&mut between, now, 3, 2, &mut rng).expect("there is room");
        assert_eq!(between.sweep(now + FLOW_UNUSED).len(), 2, "it was never used");
    }
}
