//! The gate, by the clock of the test.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::doors::{Came, Closed, Doors};
use crate::Limits;

fn limits() -> Limits {
    Limits {
        per_address: 3,
        per_network: 5,
        pending_per_address: 2,
        pending_inbound: 16,
        arrivals_per_minute: 6,
        relayed: 2,
        ..Limits::default()
    }
}

fn tcp(text: &str) -> Came {
    Came::Tcp(text.parse().expect("an address"))
}

fn quic(text: &str) -> Came {
    Came::Quic(text.parse().expect("an address"))
}

/// A whole arrival.
fn come(doors: &mut Doors<u32>, id: u32, from: Came, now: Instant) -> Result<(), Closed> {
    let result = doors.arrive(id, from, now).and_then(|()| doors.enter(&id, now));
    if result.is_err() {
        doors.leave(&id, false, now);
    }
    result
}

#[test]
fn an_address_has_a_bound_of_its_own() {
    let (mut doors, now) = (Doors::new(&limits()), Instant::now());
    for id in 0..3 {
        assert_eq!(come(&mut doors, id, tcp("192.0.2.1"), now), Ok(()));
    }
    assert_eq!(come(&mut doors, 3, tcp("192.0.2.1"), now), Err(Closed::Crowded));
    assert_eq!(come(&mut doors, 4, quic("::ffff:192.0.2.1"), now), Err(Closed::Crowded), "the same in other dress");
    assert_eq!(come(&mut doors, 5, tcp("192.0.2.2"), now), Ok(()), "a neighbour pays nothing for it");
    doors.leave(&0, false, now);
    doors.leave(&0, false, now);
    assert_eq!(come(&mut doors, 6, tcp("192.0.2.1"), now), Ok(()));
    assert_eq!(come(&mut doors, 7, tcp("192.0.2.1"), now), Err(Closed::Crowded), "leaving twice frees one place");
}

#[test]
fn one_home_of_ipv6_is_one_address_and_a_network_has_a_bound() {
    let (mut doors, now) = (Doors::new(&limits()), Instant::now());
    for id in 0..3 {
        assert_eq!(come(&mut doors, id, tcp(&format!("2001:db8:0:1::{id}")), now), Ok(()));
    }
    assert_eq!(come(&mut doors, 9, tcp("2001:db8:0:1:ffff::9"), now), Err(Closed::Crowded));
    // Sixty-five thousand of these are one /48.
    let inside = (2..1_000).filter(|n| come(&mut doors, 10 + n, tcp(&format!("2001:db8:0:{n:x}::1")), now).is_ok());
    assert_eq!(inside.count(), 2);
    assert_eq!(come(&mut doors, 5_000, tcp("2001:db8:1:1::1"), now), Ok(()), "another network");
    let inside = (0..250).filter(|n| come(&mut doors, 6_000 + n, tcp(&format!("198.51.100.{n}")), now).is_ok());
    assert_eq!(inside.count(), 5);
}

#[test]
fn who_comes_and_goes_is_slowed_down() {
    let (mut doors, now) = (Doors::new(&limits()), Instant::now());
    let mut let_in = 0;
    for id in 0..100 {
        if come(&mut doors, id, tcp("192.0.2.1"), now).is_ok() {
            let_in += 1;
            doors.leave(&id, false, now);
        }
    }
    assert_eq!(let_in, 6);
    assert_eq!(come(&mut doors, 100, tcp("192.0.2.1"), now + Duration::from_secs(9)), Err(Closed::Rush));
    assert_eq!(come(&mut doors, 101, tcp("192.0.2.1"), now + Duration::from_secs(11)), Ok(()));
    // A handshake that fails by TCP was begun by whoever has the address.
    for id in 200..206 {
        assert_eq!(doors.arrive(id, tcp("192.0.3.1"), now), Ok(()));
        doors.leave(&id, true, now);
    }
    assert_eq!(doors.arrive(206, tcp("192.0.3.1"), now), Err(Closed::Rush));
}

/// Datagrams with the address of another on them begin handshakes that never end.
#[test]
fn who_forges_an_address_does_not_shut_its_owner_out() {
    let (mut doors, now) = (Doors::new(&limits()), Instant::now());
    let mut id = 0;
    for second in 0..60 {
        let now = now + Duration::from_secs(second);
        // As many as there can be, each for ten seconds.
        while doors.arrive(id, quic("192.0.2.1"), now).is_ok() {
            id += 1;
        }
        if second % 10 == 9 {
            (0..id).for_each(|id| doors.leave(&id, true, now));
        }
    }
    assert!(id > 10, "the forger was busy: {id}");
    let now = now + Duration::from_secs(60);
    for owner in 1_000..1_003 {
        assert_eq!(come(&mut doors, owner, tcp("192.0.2.1"), now), Ok(()), "it has all of its arrivals");
    }
    // From everywhere: half-open handshakes by QUIC leave places for those by TCP, and the other way round.
    for n in 0..200_u32 {
        let _ = doors.arrive(2_000 + n, Came::Quic(IpAddr::from((0x0900_0000 + (n << 8)).to_be_bytes())), now);
    }
    assert_eq!(doors.arrive(3_000, quic("203.0.113.7"), now), Err(Closed::Busy));
    assert_eq!(come(&mut doors, 3_001, tcp("203.0.113.7"), now), Ok(()));
}

#[test]
fn handshakes_of_one_address_have_a_bound() {
    let (mut doors, now) = (Doors::new(&limits()), Instant::now());
    assert_eq!(doors.arrive(0, tcp("192.0.2.1"), now), Ok(()));
    assert_eq!(doors.arrive(1, tcp("192.0.2.1"), now), Ok(()));
    assert_eq!(doors.arrive(2, tcp("192.0.2.1"), now), Err(Closed::Crowded));
    doors.leave(&0, true, now);
    assert_eq!(doors.arrive(3, tcp("192.0.2.1"), now), Ok(()));
    // Of one network eight: four addresses.
    let begun = (2..100).filter(|n| doors.arrive(100 + n, tcp(&format!("192.0.2.{n}")), now).is_ok()).count();
    assert_eq!(begun, 6);
}

#[test]
fn bans_close_an_address_for_a_while() {
    let (mut doors, now) = (Doors::new(&limits()), Instant::now());
    let at: IpAddr = "192.0.2.1".parse().expect("an address");
    for strike in 0..3 {
        assert_eq!(come(&mut doors, strike, Came::Tcp(at), now), Ok(()));
        doors.leave(&strike, false, now);
        doors.strike(at, now);
    }
    assert_eq!(come(&mut doors, 5, Came::Tcp(at), now + Duration::from_secs(599)), Err(Closed::Struck));
    assert_eq!(come(&mut doors, 6, Came::Tcp(at), now + Duration::from_secs(601)), Ok(()));
    doors.strike(at, now);
    doors.strike(at, now);
    let later = now + Duration::from_secs(3_700);
    doors.leave(&6, false, later);
    doors.strike(at, later);
    assert_eq!(come(&mut doors, 7, Came::Tcp(at), later), Ok(()), "old ones are forgotten");
}

#[test]
fn relayed_connections_share_one_bound() {
    let (mut doors, now) = (Doors::new(&limits()), Instant::now());
    assert_eq!(doors.arrive(0, Came::Relay, now), Ok(()));
    assert_eq!(doors.arrive(1, Came::Relay, now), Ok(()));
    assert_eq!(doors.arrive(2, Came::Relay, now), Err(Closed::Relayed));
    doors.leave(&0, false, now);
    assert_eq!(doors.arrive(3, Came::Relay, now), Ok(()));
}

#[test]
fn strangers_do_not_fill_the_memory_and_wash_no_ban_away() {
    let (mut doors, now) = (Doors::new(&limits()), Instant::now());
    let banned: IpAddr = "192.0.2.1".parse().expect("an address");
    (0..3).for_each(|_| doors.strike(banned, now));
    for id in 0..20_000_u32 {
        // From twenty thousand networks.
        let from = IpAddr::from((0x0a00_0000 + (id << 8)).to_be_bytes());
        assert_eq!(come(&mut doors, id, Came::Tcp(from), now), Ok(()));
        doors.leave(&id, false, now);
    }
    assert!(doors.remembered() <= 8_192 + 2, "{}", doors.remembered());
    assert_eq!(come(&mut doors, 30_000, Came::Tcp(banned), now), Err(Closed::Struck));
    // Those who were never let in leave nothing at all.
    let mut doors = Doors::new(&limits());
    for id in 0..20_000_u32 {
        let _ = doors.arrive(id, Came::Quic(IpAddr::from(id.to_be_bytes())), now);
        doors.leave(&id, true, now);
    }
    assert_eq!(doors.remembered(), 0);
}
