use super::*;
use proptest::prelude::*;
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;

fn sample() -> (Invite, AnswerKey) {
    Invite::create([7; 32], [9; 16], 2_000, &mut ChaCha12Rng::seed_from_u64(1))
}

#[test]
fn an_invite_survives_its_line() {
    let (invite, key) = sample();
    let line = invite.to_line();
    assert!(line.starts_with("zmesh:call/2/"));
    assert_eq!(line.len(), 13 + 200);
    assert!(line.bytes().all(|byte| byte.is_ascii_graphic()));
    let read = Invite::parse(&line, 1_999).unwrap();
    assert_eq!(read, invite);
    assert_eq!(read.key(), &key.public());
    assert_eq!(read.check_network(&[7; 32]), Ok(()));
    assert_eq!(read.check_network(&[8; 32]), Err(InviteError::OtherNetwork));
}

#[test]
fn white_space_and_capitals_do_no_harm() {
    let (invite, _) = sample();
    let line = format!("  {}\r\n", invite.to_line().to_ascii_uppercase());
    assert_eq!(Invite::parse(&line, 0).unwrap(), invite);
}

#[test]
fn each_fault_has_its_own_error() {
    let (invite, _) = sample();
    let line = invite.to_line();
    assert_eq!(Invite::parse("hello", 0), Err(InviteError::NotAnInvite));
    assert_eq!(Invite::parse("", 0), Err(InviteError::NotAnInvite));
    assert_eq!(Invite::parse("zmesh:call/", 0), Err(InviteError::NotAnInvite));
    assert_eq!(Invite::parse("zmesh:call/x/aa", 0), Err(InviteError::NotAnInvite));
    assert_eq!(Invite::parse(&"z".repeat(10_000), 0), Err(InviteError::NotAnInvite));
    let newer = line.replacen("/2/", "/3/", 1);
    assert_eq!(Invite::parse(&newer, 0), Err(InviteError::WrongVersion { found: "3".into() }));
    assert_eq!(Invite::parse(&line[..line.len() - 1], 0), Err(InviteError::Damaged));
    assert_eq!(Invite::parse(&format!("{}a", *line), 0), Err(InviteError::Damaged));
    assert_eq!(Invite::parse("zmesh:call/2/", 0), Err(InviteError::Damaged));
    assert_eq!(Invite::parse("zmesh:call/2/ä", 0), Err(InviteError::Damaged));
    assert_eq!(Invite::parse(&line, 2_000), Err(InviteError::Expired { ago: 0 }));
    assert_eq!(Invite::parse(&line, 2_060), Err(InviteError::Expired { ago: 60 }));
}

#[test]
fn every_changed_character_is_noticed() {
    let (invite, _) = sample();
    let line = invite.to_line();
    for at in 13..line.len() {
        let mut bytes = line.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'a' { b'b' } else { b'a' };
        let changed = String::from_utf8(bytes).unwrap();
        assert_eq!(changed.parse::<Invite>(), Err(InviteError::Damaged), "at {at}");
    }
}

#[test]
fn secrets_are_not_printed() {
    let (invite, key) = sample();
    assert_eq!(format!("{invite:?} {key:?}"), "Invite([redacted]) AnswerKey([redacted])");
}

#[test]
fn two_invites_share_nothing() {
    let mut rng = ChaCha12Rng::seed_from_u64(1);
    let (a, _) = Invite::create([7; 32], [9; 16], 2_000, &mut rng);
    let (b, _) = Invite::create([7; 32], [9; 16], 2_000, &mut rng);
    assert!(a.cookie != b.cookie && a.secret != b.secret && a.key != b.key);
    assert_ne!(a.cookie, a.secret);
}

proptest! {
    #[test]
    fn any_text_is_an_invite_or_an_error(text in ".{0,400}") {
        let _ = text.parse::<Invite>();
    }

    #[test]
    fn any_code_is_an_invite_or_an_error(code in "[a-z2-7]{0,220}") {
        let line = format!("zmesh:call/2/{code}");
        prop_assert!(line.parse::<Invite>().is_err());
    }
}
