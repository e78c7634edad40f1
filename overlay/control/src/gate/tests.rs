//! The gate, by the clock of the test.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::doors::{Closed, Doors};
use crate::Limits;

fn limits() -> Limits {
    Limits { per_address: 3, arrivals_per_minute: 6, relayed: 2, ..Limits::default() }
}

fn ip(text: &str) -> Option<IpAddr> {
    Some(text.parse().expect("an address"))
}

#[test]
fn an_address_has_a_bound_of_its_own() {
    let (mut doors, now) = (Doors::new(&limits()), Instant::now());
    for id in 0..3 {
        assert_eq!(doors.arrive(id, ip("192.0.2.1"), now), Ok(()));
    }
    assert_eq!(doors.arrive(3, ip("192.0.2.1"), now), Err(Closed::Crowded));
    assert_eq!(doors.arrive(4, ip("::ffff:192.0.2.1"), now), Err(Closed::Crowded), "the same in other dress");
    assert_eq!(doors.arrive(5, ip("192.0.2.2"), now), Ok(()), "a neighbour pays nothing for it");
    doors.leave(&0);
    doors.leave(&0);
    assert_eq!(doors.arrive(6, ip("192.0.2.1"), now), Ok(()));
    assert_eq!(doors.arrive(7, ip("192.0.2.1"), now), Err(Closed::Crowded), "leaving twice frees one place");
}

#[test]
fn one_home_of_ipv6_is_one_address() {
    let (mut doors, now) = (Doors::new(&limits()), Instant::now());
    for id in 0..3 {
        assert_eq!(doors.arrive(id, ip(&format!("2001:db8:0:1::{id}")), now), Ok(()));
    }
    assert_eq!(doors.arrive(9, ip("2001:db8:0:1:ffff::9"), now), Err(Closed::Crowded));
    assert_eq!(doors.arrive(10, ip("2001:db8:0:2::1"), now), Ok(()));
}

#[test]
fn who_comes_and_goes_is_slowed_down() {
    let (mut doors, now) = (Doors::new(&limits()), Instant::now());
    let mut let_in = 0;
    for id in 0..100 {
        if doors.arrive(id, ip("192.0.2.1"), now).is_ok() {
            let_in += 1;
            doors.leave(&id);
        }
    }
    assert_eq!(let_in, 6);
    assert_eq!(doors.arrive(100, ip("192.0.2.1"), now + Duration::from_secs(9)), Err(Closed::Rush));
    assert_eq!(doors.arrive(101, ip("192.0.2.1"), now + Duration::from_secs(11)), Ok(()));
}

#[test]
fn bans_close_an_address_for_a_while() {
    let (mut doors, now) = (Doors::new(&limits()), Instant::now());
    let at: IpAddr = "192.0.2.1".parse().expect("an address");
    for strike in 0..3 {
        assert_eq!(doors.arrive(strike, Some(at), now), Ok(()));
        doors.leave(&strike);
        doors.strike(at, now);
    }
    assert_eq!(doors.arrive(5, Some(at), now + Duration::from_secs(599)), Err(Closed::Struck));
    assert_eq!(doors.arrive(6, Some(at), now + Duration::from_secs(601)), Ok(()));
}

#[test]
fn relayed_connections_share_one_bound() {
    let (mut doors, now) = (Doors::new(&limits()), Instant::now());
    assert_eq!(doors.arrive(0, None, now), Ok(()));
    assert_eq!(doors.arrive(1, None, now), Ok(()));
    assert_eq!(doors.arrive(2, None, now), Err(Closed::Relayed));
    doors.leave(&0);
    assert_eq!(doors.arrive(3, None, now), Ok(()));
}

#[test]
fn strangers_do_not_fill_the_memory() {
    let (mut doors, now) = (Doors::new(&limits()), Instant::now());
    for id in 0..20_000_u32 {
        let from = IpAddr::from(id.to_be_bytes());
        assert_eq!(doors.arrive(id, Some(from), now), Ok(()));
        doors.leave(&id);
    }
    assert!(doors.remembered() <= 4_096, "{}", doors.remembered());
}
