//! Repair between two nodes: what was lost comes after all, once, and nothing is added without loss.

use std::collections::BTreeSet;
use std::time::Duration;

use rand_core::Rng;

use super::network::{relay_config, seeded};
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

/// A sparse cell each 20 ms while both directions lose some: how many of `count` do not arrive.
fn sparse_missing(net: &mut Net, link: LinkId, count: u32) -> usize {
    for number in 0..count {
        net.a.links.send_queued(net.now, link, (&cell(7, number), true), None);
        net.run(Duration::from_millis(20));
    }
    net.run(Duration::from_secs(1));
    let numbers = net.b.numbers();
    let distinct: BTreeSet<_> = numbers.iter().copied().collect();
    assert_eq!(distinct.len(), numbers.len(), "no cell twice");
    assert!(net.b.cells.iter().all(|(_, got)| *got == cell(7, got.number)), "what is recovered is what was sent");
    count as usize - numbers.len()
}

#[test]
fn sparse_cells_come_in_spite_of_loss_reordering_and_duplication() {
    let (mut net, a, _) = net(true).linked();
    (net.loss, net.duplicates, net.jitter) = (50, 30, Duration::from_millis(8));
    let missing = sparse_missing(&mut net, a, 3000);
    let counters = *net.b.links.counters();
    assert!(missing <= 9, "{missing} of 3,000 missing");
    assert!(counters.cells_repaired > 100 && net.a.links.counters().repairs_sent > 1000, "{counters:?}");
    let loss = net.a.links.stats(a).expect("up").loss;
    assert!((0.01..0.12).contains(&loss), "loss that repair hides is seen: {loss}");
}

#[test]
fn memory_for_repair_comes_with_loss_and_goes_with_it() {
    let (mut net, a, b) = net(true).linked();
    net.keep_log = false;
    sparse_missing(&mut net, a, 100);
    assert_eq!((net.a.links.repair_costs(a).0, net.b.links.repair_costs(b).0), (0, 0), "none without loss");
    net.loss = 50;
    net.a.backlog = (1000..9000).map(|number| (a, number)).collect();
    net.run(Duration::from_secs(5));
    net.b.cells.clear();
    sparse_missing(&mut net, a, 300);
    let (sending, receiving) = (net.a.links.repair_costs(a).0, net.b.links.repair_costs(b).0);
    assert!((10_000..3 << 20).contains(&sending) && (1000..300_000).contains(&receiving), "{sending}, {receiving}");
    net.loss = 0;
    net.run(Duration::from_secs(45));
    assert_eq!((net.a.links.repair_costs(a).0, net.b.links.repair_costs(b).0), (0, 0), "all is given back");
}

/// A peer that reports everything as lost, for ever.
#[test]
fn inflated_loss_reports_buy_no_more_than_the_cap() {
    let (mut net, a, b) = net(true).linked();
    net.log.clear();
    let cells = 500u32;
    for number in 0..cells {
        net.a.links.send_queued(net.now, a, (&cell(7, 2 * number), true), None);
        net.a.links.send_queued(net.now, a, (&cell(8, 2 * number + 1), false), None);
        net.run(Duration::from_millis(15));
        // The highest counter, and none below it.
        let sent = net.a.links.stats(a).expect("up").datagrams_sent;
        let highest = u32::try_from(sent - 1).expect("few");
        let frame = [&[crate::wire::frame::FEEDBACK][..], &highest.to_be_bytes(), &[0; 23]].concat();
        net.b.links.forge(net.now, b, &frame);
        net.run(Duration::from_millis(5));
    }
    let counters = net.a.links.counters();
    let (repairs, again) = (counters.repairs_sent, counters.cells_again);
    println!("{cells} sparse and {cells} other cells: {repairs} repairs, {again} sent again");
    // Two repairs for each protected cell; of all datagrams 30 % again, and 64 at once.
    assert!(repairs <= 2 * u64::from(cells) + 16 && repairs > 100);
    assert!(again <= u64::from(2 * cells) * 30 / 100 + 64 && again > 100);
}

/// A peer that asks for as much decoding as it can.
#[test]
fn hostile_repairs_cost_bounded_work_and_memory() {
    let (mut net, a, b) = net(true).linked();
    net.keep_log = false;
    net.run(Duration::from_secs(1));
    let mut rng = seeded(9);
    let (began, mut sent) = (net.now, 0u64);
    while net.now < began + Duration::from_secs(4) {
        // Of each window every second cell is missing, and the repairs hold as many unknowns as they can.
        let id = u16::try_from(sent % 60_000 * 2 % 65_536).expect("below 2^16");
        let source = [&[crate::wire::frame::SOURCE][..], &id.to_be_bytes(), &[1; 512]].concat();
        net.a.links.forge(net.now, a, &source);
        for _ in 0..8 {
            let mut symbol = [0; 512];
            rng.fill_bytes(&mut symbol);
            let vector =
                zmesh_fec::Vector::new(id.wrapping_sub(40), u64::MAX, u8::try_from(sent % 192).expect("< 192"));
            let vector = vector.expect("well-formed").encode();
            net.a.links.forge(net.now, a, &[&[crate::wire::frame::REPAIR][..], &vector, &symbol].concat());
            sent += 1;
        }
        net.run(Duration::from_micros(1000));
    }
    let (memory, work) = net.b.links.repair_costs(b);
    let counters = net.b.links.counters();
    println!("{sent} repairs in 4 s: {work} multiply-adds, {} refused, {memory} bytes", counters.repairs_refused);
    assert!(work <= 4 * 400_000 + 2 * 40_000 && work > 100_000, "{work}");
    assert!(counters.repairs_refused > sent / 4 && memory < 300_000);
    assert!(net.b.links.stats(b).expect("up").up, "a link that floods itself with repairs is its own affair");
}

#[test]
fn what_is_said_to_be_again_replaces_nothing_that_came() {
    let (mut net, a, _) = net(true).linked();
    let next = net.a.links.stats(a).expect("up").datagrams_sent;
    net.a.links.send_cells(net.now, a, &cell(7, 1), None);
    let again = |back: u16| {
        let mut bytes = [0; 512];
        cell(7, 99).write(&mut bytes);
        [&[crate::wire::frame::AGAIN1][..], &back.to_be_bytes(), &bytes].concat()
    };
    net.run(Duration::from_millis(50));
    for back in [1, 0, u16::MAX, u16::try_from(next).expect("few")] {
        net.a.links.forge(net.now, a, &again(back));
        net.run(Duration::from_millis(50));
    }
    assert_eq!(net.b.numbers(), [1], "all of these came, or never will");
}
