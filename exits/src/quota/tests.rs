use std::time::Duration;

use super::*;

const ONE: CircuitHandle = CircuitHandle(1);
const TWO: CircuitHandle = CircuitHandle(2);

fn tight() -> Limits {
    Limits {
        streams: 2,
        connects_per_minute: 3,
        udp_flows: 1,
        lookups_per_minute: 2,
        bytes_per_second: Some(1_000),
        bytes_total: Some(10_000),
        node_sockets: 4,
    }
}

#[test]
fn streams_are_given_back() {
    let now = Instant::now();
    let quotas = Quotas::new(Limits { connects_per_minute: 100, ..tight() });
    let account = quotas.account(ONE, now).unwrap();
    let first = account.stream(now).unwrap();
    let _second = account.stream(now).unwrap();
    assert_eq!(account.stream(now).unwrap_err(), Exceeded::Streams);
    drop(first);
    assert!(account.stream(now).is_ok());
    assert_eq!(quotas.sockets(), 1);
}

#[test]
fn connections_come_back_with_time() {
    let now = Instant::now();
    let account = Quotas::new(tight()).account(ONE, now).unwrap();
    for _ in 0..3 {
        account.stream(now).unwrap();
    }
    assert_eq!(account.stream(now).unwrap_err(), Exceeded::Connects);
    // Three a minute is one in twenty seconds.
    assert_eq!(account.stream(now + Duration::from_millis(19_999)).unwrap_err(), Exceeded::Connects);
    assert!(account.stream(now + Duration::from_millis(20_000)).is_ok());
    assert!(account.stream(now + Duration::from_millis(20_001)).is_err());
    // An hour of rest gives no more than a minute's worth.
    let later = now + Duration::from_secs(3_600);
    assert_eq!((0..10).filter(|_| account.stream(later).is_ok()).count(), 3);
}

#[test]
fn flows_and_lookups_are_limited() {
    let now = Instant::now();
    let account = Quotas::new(tight()).account(ONE, now).unwrap();
    let flow = account.flow().unwrap();
    assert_eq!(account.flow().unwrap_err(), Exceeded::UdpFlows);
    drop(flow);
    assert!(account.flow().is_ok());
    assert!(account.lookup(now).is_ok() && account.lookup(now).is_ok());
    assert_eq!(account.lookup(now), Err(Exceeded::Lookups));
    assert!(account.lookup(now + Duration::from_secs(30)).is_ok());
}

#[test]
fn circuits_do_not_share_but_the_exit_is_one() {
    let now = Instant::now();
    let quotas = Quotas::new(tight());
    let one = quotas.account(ONE, now).unwrap();
    let two = quotas.account(TWO, now).unwrap();
    let _held =
        [one.stream(now).unwrap(), one.stream(now).unwrap(), two.stream(now).unwrap(), two.stream(now).unwrap()];
    assert_eq!(quotas.account(CircuitHandle(3), now).unwrap().stream(now).unwrap_err(), Exceeded::Exit);
    assert_eq!(EgressError::from(Exceeded::Exit), EgressError::QuotaExceeded);
}

#[test]
fn an_account_is_one_until_it_is_forgotten() {
    let now = Instant::now();
    let quotas = Quotas::new(tight());
    let account = quotas.account(ONE, now).unwrap();
    let held = account.flow().unwrap();
    assert_eq!(quotas.account(ONE, now).unwrap().flow().unwrap_err(), Exceeded::UdpFlows);
    quotas.forget(ONE);
    assert!(quotas.is_empty());
    // What is still open counts for the exit until it closes.
    assert_eq!(quotas.sockets(), 1);
    drop(held);
    assert_eq!(quotas.sockets(), 0);
    quotas.forget(TWO);
}

#[test]
fn bytes_are_paced() {
    let now = Instant::now();
    let account = Quotas::new(tight()).account(ONE, now).unwrap();
    assert_eq!(account.may_move(now), Ok(None));
    account.spend(1_000, now);
    assert_eq!(account.may_move(now), Ok(None));
    account.spend(500, now);
    assert_eq!(account.may_move(now), Ok(Some(now + Duration::from_millis(500))));
    assert_eq!(account.may_move(now + Duration::from_millis(500)), Ok(None));
    // Ten seconds of rest are not saved up.
    let later = now + Duration::from_secs(10);
    account.spend(1_001, later);
    assert!(account.may_move(later).unwrap().is_some());
}

#[test]
fn bytes_end() {
    let now = Instant::now();
    let account = Quotas::new(tight()).account(ONE, now).unwrap();
    account.spend(10_000, now);
    assert_eq!(account.may_move(now + Duration::from_secs(60)), Err(Exceeded::Bytes));
    assert_eq!(account.stream(now).unwrap_err(), Exceeded::Bytes);
    assert_eq!(account.flow().unwrap_err(), Exceeded::Bytes);
}

#[test]
fn huge_amounts_do_not_overflow() {
    let now = Instant::now();
    let limits = Limits { bytes_per_second: Some(0), bytes_total: None, ..tight() };
    let account = Quotas::new(limits).account(ONE, now).unwrap();
    for _ in 0..10 {
        account.spend(usize::MAX, now);
    }
    assert!(account.may_move(now).unwrap().is_some());
}
