//! Voters alone: each hears what another says after the same short time, and nothing is lost.
//!
//! For worlds that need what voters agree on, and look at something else.

use std::collections::BTreeMap;
use std::rc::Rc;

use zmesh_proto::directory::Chain;
use zmesh_proto::directory::voting::{Event, Memory, Timing, Transmit, Voting};
use zmesh_proto::keys::SignerKey;
use zmesh_proto::wire::control::vote::Ballot;
use zmesh_proto::wire::control::{EpochDocument, Genesis};

/// From one voter to another, in milliseconds.
const DELAY: u64 = 50;

/// The voters of a genesis, each a real [`Voting`] machine.
#[derive(Debug)]
pub struct Council {
    now: u64,
    genesis: Genesis,
    voters: Vec<Voting>,
    queue: BTreeMap<(u64, u64), (usize, Rc<Transmit>)>,
    order: u64,
    /// The document that some have agreed on, and how many.
    agreed: Option<(EpochDocument, usize)>,
}

impl Council {
    /// The voters with these keys at the beginning of epoch 0.
    ///
    /// # Panics
    /// Never: voters that are new remember nothing that could be damaged.
    #[must_use]
    pub fn new(genesis: &Genesis, keys: Vec<SignerKey>) -> Council {
        let now = genesis.epoch_start(0) * 1_000;
        let voter = |key| {
            let chain = Chain::from_genesis(genesis.clone());
            Voting::new(chain, Some(key), Memory::Fresh, now).expect("nothing is remembered")
        };
        let voters = keys.into_iter().map(voter).collect();
        Council { now, genesis: genesis.clone(), voters, queue: BTreeMap::new(), order: 0, agreed: None }
    }

    /// What each of them sees of the relays from now on.
    pub fn set_ballot(&mut self, ballot: &Ballot) {
        self.voters.iter_mut().for_each(|voter| voter.set_ballot(ballot.clone()));
    }

    /// Before when (unix milliseconds) they surely agree on nothing new.
    #[must_use]
    pub fn quiet_until(&self) -> u64 {
        let epoch = self.voters.first().map_or(0, |voter| voter.chain().head().epoch);
        Timing::after(&self.genesis, epoch, self.now).propose().max(self.next())
    }

    /// Lets them vote until all of them have a new document, or until a time (unix milliseconds).
    ///
    /// # Panics
    /// If they agree on two documents, or one lacks what another said.
    pub fn run_until(&mut self, until: u64) -> Option<EpochDocument> {
        loop {
            let at = self.next();
            if at > until {
                self.now = self.now.max(until);
                return None;
            }
            self.now = self.now.max(at);
            while let Some(entry) = self.queue.first_entry()
                && entry.key().0 <= self.now
            {
                let (to, transmit) = entry.remove();
                self.voters[to].handle_message(transmit.topic, &transmit.bytes, self.now);
                self.drain(to);
            }
            for voter in 0..self.voters.len() {
                if self.voters[voter].next_timeout().is_some_and(|due| due <= self.now) {
                    self.voters[voter].handle_time(self.now);
                    self.drain(voter);
                }
            }
            if self.agreed.as_ref().is_some_and(|(_, count)| *count == self.voters.len()) {
                return self.agreed.take().map(|(document, _)| document);
            }
        }
    }

    /// When something happens next; never, if nobody votes.
    fn next(&self) -> u64 {
        let delivery = self.queue.first_key_value().map(|((at, _), _)| *at);
        self.voters.iter().filter_map(Voting::next_timeout).chain(delivery).min().unwrap_or(u64::MAX)
    }

    fn drain(&mut self, voter: usize) {
        while let Some(transmit) = self.voters[voter].poll_transmit() {
            let transmit = Rc::new(transmit);
            for to in (0..self.voters.len()).filter(|to| *to != voter) {
                self.order += 1;
                self.queue.insert((self.now + DELAY, self.order), (to, Rc::clone(&transmit)));
            }
        }
        while let Some(event) = self.voters[voter].poll_event() {
            match event {
                Event::Agreed(document) => match &mut self.agreed {
                    Some((first, count)) => {
                        assert_eq!(first.hash(), document.hash(), "two documents of one instance");
                        *count += 1;
                    }
                    None => self.agreed = Some((*document, 1)),
                },
                Event::Wanted(_) | Event::Forked(_) => panic!("everybody hears everything"),
                _ => {}
            }
        }
    }
}
