//! Repair between two nodes: what was lost comes after all, once, and nothing is added without loss.

use std::collections::BTreeSet;
use std::time::Duration;

use super::network::relay_config;
use super::*;

fn net(repair: bool) -> Net {
    let mut configs = [relay_config(1), relay_config(2)];
    for config in &mut configs {
        config.repair = repair;
        config.rate_limit = Some(5_000_000);
    }
    let [a, b] = configs;
    Net::new(a, b)
}

/// Of `count` cells sent as fast as the link takes them, how many do not arrive. None may come twice.
fn bulk_missing(repair: bool, loss: u32, jitter: Duration, count: u32) -> usize {
    let (mut net, a, _) = net(repair).linked();
    net.keep_log = false;
    net.loss = loss;
    net.jitter = jitter;
    net.a.backlog = (0..count).map(|number| (a, number)).collect();
    net.run(Duration::from_secs(30));
    assert!(net.a.backlog.is_empty());
    println!("{:?}\n{:?}", net.a.links.counters(), net.b.links.counters());
    println!("{:?}", net.a.links.stats(a));
    let numbers = net.b.numbers();
    let distinct: BTreeSet<_> = numbers.iter().copied().collect();
    assert_eq!(distinct.len(), numbers.len(), "no cell twice");
    count as usize - numbers.len()
}

#[test]
fn bulk_that_is_lost_is_sent_again_once() {
    for (loss, most) in [(10, 10), (50, 150)] {
        let without = bulk_missing(false, loss, Duration::ZERO, 20_000);
        let with = bulk_missing(true, loss, Duration::ZERO, 20_000);
        println!("{loss} ‰ lost: {without} of 20,000 cells missing without repair, {with} with it");
        assert!(without >= 20 * loss as usize * 8 / 10 && with <= most);
    }
}

#[test]
fn cells_that_only_came_late_are_not_handed_on_twice() {
    // Later than the 5 ms after which a datagram counts as lost.
    let missing = bulk_missing(true, 0, Duration::from_millis(15), 20_000);
    assert_eq!(missing, 0);
}
