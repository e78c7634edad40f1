//! Whom people would have vote, and not vote any more: what a voter's ballots say besides what it saw.
//!
//! People name people, for uptime costs no honesty; and a voter names nobody whom it did not see up, for a voter that is away helps
//! nobody. That as many voters have to say the same is counted where ballots are.

use zmesh_proto::wire::control::vote::Ballot;
use zmesh_proto::wire::control::{VOTERS_MAX, Voter, VoterSet};
use zmesh_proto::wire::document::SignerId;

use crate::StartError;

/// What a voter's operator wishes.
#[derive(Default)]
pub(crate) struct Wishes {
    wanted: Vec<Voter>,
    unwanted: Vec<SignerId>,
}

impl Wishes {
    pub(crate) fn new(wanted: Vec<Voter>, mut unwanted: Vec<SignerId>) -> Result<Self, StartError> {
        let bad =
            StartError::Setting("voters that are wanted have to be different keys with operators' names, 64 at most");
        if !wanted.is_empty() && VoterSet::new(wanted.clone(), VOTERS_MAX).is_err() {
            return Err(bad);
        }
        unwanted.sort_unstable();
        unwanted.dedup();
        Ok(Self { wanted, unwanted })
    }

    /// The ballot with these wishes, as far as they change anything: `now` are the voters in office, and a node is fit that was up for
    /// `least` thousandths of the looks at it.
    pub(crate) fn add_to(
        &self,
        ballot: Ballot,
        now: &VoterSet,
        least: u16,
        uptime: impl Fn(&SignerId) -> Option<u16>,
    ) -> Ballot {
        let is_fit =
            |voter: &&Voter| now.place(&voter.key).is_none() && uptime(&voter.key).is_some_and(|up| up >= least);
        let wanted: Vec<Voter> = self.wanted.iter().filter(is_fit).cloned().collect();
        let unwanted = self.unwanted.iter().filter(|key| now.place(key).is_some()).take(VOTERS_MAX);
        Ballot { wanted: VoterSet::new(wanted, VOTERS_MAX).ok(), unwanted: unwanted.copied().collect(), ..ballot }
    }
}

#[cfg(test)]
mod tests {
    use zmesh_proto::keys::SignerKey;
    use zmesh_proto::random::Generator;

    use super::*;

    fn voter(n: u8) -> Voter {
        let key = SignerKey::generate(&mut Generator::new(&[n; 32]));
        Voter { key: SignerId(key.public()), operator: format!("operator {n}") }
    }

    #[test]
    fn who_was_seen_up_is_named_and_who_votes_already_is_not() {
        let now = VoterSet::new(vec![voter(1), voter(2)], 1).unwrap();
        let wishes =
            Wishes::new(vec![voter(1), voter(3), voter(4), voter(5)], vec![voter(9).key, voter(2).key]).unwrap();
        let uptime = |key: &SignerId| match key {
            key if *key == voter(3).key => Some(950),
            key if *key == voter(4).key => Some(949),
            key if *key == voter(1).key => Some(1_000),
            _ => None,
        };
        let ballot = wishes.add_to(Ballot::default(), &now, 950, uptime);
        assert_eq!(ballot.wanted.unwrap().voters(), [voter(3)]);
        assert_eq!(ballot.unwanted, [voter(2).key], "who does not vote need not leave");
        let nobody = Wishes::default().add_to(Ballot::default(), &now, 0, |_| Some(1_000));
        assert_eq!(nobody, Ballot::default());
    }

    #[test]
    fn wishes_that_no_ballot_can_hold_are_refused() {
        assert!(Wishes::new(vec![voter(1), voter(1)], Vec::new()).is_err(), "one twice");
        assert!(Wishes::new(vec![Voter { operator: String::new(), ..voter(1) }], Vec::new()).is_err());
        assert!(Wishes::new(Vec::new(), vec![voter(1).key; 9]).is_ok_and(|wishes| wishes.unwanted.len() == 1));
    }
}
