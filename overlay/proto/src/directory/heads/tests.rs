use super::*;
use crate::directory::Step;
use crate::directory::held::tests::Story;
use crate::wire::control::Certificate;

fn relay(number: u8) -> RelayId {
    RelayId([number; 16])
}

fn header(signed: &SignedHeader) -> Said {
    Said::Header(Box::new(signed.clone()))
}

fn forged(signed: &SignedHeader) -> SignedHeader {
    let mut signatures = signed.certificate().signatures.clone();
    signatures[0].1[40] ^= 1;
    SignedHeader::new(signed.header().clone(), Certificate { signatures, ..signed.certificate().clone() }).unwrap()
}

/// Compares what relays 1, 2, … said.
fn compared(story: &Story, said: Vec<Said>) -> Comparison {
    let said: Vec<_> = (1..).map(relay).zip(said).collect();
    compare(story.held.known(), &said)
}

#[test]
fn three_relays_that_agree_leave_nothing_to_say() {
    let story = Story::new(1);
    let own = story.held.snapshot().document().signed();
    let result = compared(&story, vec![Said::Same, header(own), Said::Same]);
    assert_eq!(result.current.len(), 3);
    assert_eq!(result.warning(10, 10), None);
    assert_eq!(result.warning(10, 12), None, "voters may fail to agree once");
    assert_eq!(result.warning(10, 13), Some(Warning::Old { epoch: 10, epochs: 3 }));
    let two = compared(&story, vec![Said::Same, Said::Same, Said::Nothing]);
    assert_eq!(two.warning(10, 10), Some(Warning::Uncompared { answered: 2 }));
    let refused = compared(&story, vec![Said::Same, Said::Refused, Said::Refused]);
    assert_eq!(refused.warning(10, 10), Some(Warning::Refused { relays: 2, asked: 3 }));
}

#[test]
fn the_newest_well_signed_header_is_found_and_lies_are_named() {
    let mut story = Story::new(1);
    let next = story.next(|_| ());
    let next = next.document().signed();
    let result = compared(&story, vec![header(next), Said::Same, header(&forged(next)), Said::Nonsense]);
    assert_eq!(result.newer.as_ref().map(|(relay, header)| (*relay, &**header)), Some((relay(1), next)));
    assert!(matches!(result.liars[0], (id, Lie::Refused(ChainError::ForgedSignature(_))) if id == relay(3)));
    assert_eq!(result.liars[1], (relay(4), Lie::Unshown));
    assert_eq!(result.warning(11, 11), Some(Warning::Forged { relays: 2, asked: 4 }));
    // The same from behind.
    let old = story.held.snapshot().document().signed().clone();
    story.go(|_| ());
    let result = compared(&story, vec![header(&old), Said::Same, Said::Same]);
    assert_eq!(result.stale, [(relay(1), 10)]);
    assert_eq!(result.warning(11, 11), Some(Warning::Behind { relays: 1, asked: 3, epoch: 11 }));
    assert!(result.split.is_none());
}

#[test]
fn a_header_by_unknown_voters_asks_for_what_is_between() {
    let mut story = Story::new(1);
    let before = story.held.clone();
    story.change_voters(20);
    story.go(|_| ());
    let newest = story.held.snapshot().document().signed();
    let said = [(relay(1), header(newest)), (relay(2), Said::Same)];
    let result = compare(before.known(), &said);
    assert_eq!(result.beyond, Some((relay(1), 12)));
    assert!(result.newer.is_none() && result.liars.is_empty());
}

#[test]
fn two_documents_of_one_epoch_are_two_histories() {
    let mut story = Story::new(1);
    let (one, two) = (story.next(|_| ()), story.next(|by_hand| by_hand.randomness = [99; 32]));
    // Both newer than what the client has.
    let both = vec![header(one.document().signed()), header(two.document().signed()), Said::Same];
    let result = compared(&story, both);
    let split = result.split.clone().expect("two histories");
    assert!(split.signers.proven && split.signers.keys.len() == 4);
    assert_eq!(result.warning(10, 10), Some(Warning::TwoHistories { epoch: 11 }));
    // One of them is what the client has.
    story.held.advance(&[], Step::Snapshot(&one.encode())).unwrap();
    let result = compared(&story, vec![header(two.document().signed()), Said::Same, Said::Same]);
    assert_eq!(result.split.as_ref().map(|split| split.epoch), Some(11));
    let warning = result.warning(11, 11).expect("one");
    assert!(warning.is_grave() && warning.to_string().starts_with("this network shows you two histories"));
    // With signatures that nobody made it is a lie and no history.
    let result = compared(&story, vec![header(&forged(two.document().signed())), Said::Same, Said::Same]);
    assert!(result.split.is_none());
    assert_eq!(result.liars.len(), 1);
}

#[test]
fn the_voters_before_a_change_sign_the_other_history() {
    let mut story = Story::new(1);
    let other = story.next(|by_hand| by_hand.randomness = [99; 32]);
    story.change_voters(20);
    let result = compared(&story, vec![header(other.document().signed()), Said::Same, Said::Same]);
    assert_eq!(result.split.expect("two histories").epoch, 11);
}
