use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::timer::any_instant;

/// Takes the next cell.
fn pop(queue: &mut FairQueue<(u32, u32)>, now: Instant, drops: &mut u64) -> Option<((u32, u32), bool)> {
    let mut cell = (0, 0);
    let popped = queue.pop(now, drops, &mut cell)?;
    Some((cell, popped.sparse))
}

fn queue(circuit: usize, link: usize) -> FairQueue<(u32, u32)> {
    FairQueue::new(QueueBounds { circuit, link }, CodelConfig::default())
}

#[test]
fn a_sparse_flow_passes_a_backlog() {
    let now = any_instant();
    let mut queue = queue(500, 5000);
    let bulk = queue.add_flow();
    let call = queue.add_flow();
    for n in 0..400 {
        queue.push(bulk, now, (0, n));
    }
    let mut drops = 0;
    for _ in 0..10 {
        pop(&mut queue, now, &mut drops).unwrap();
    }
    queue.push(call, now, (1, 0));
    let next = pop(&mut queue, now, &mut drops).unwrap();
    assert_eq!(next.0, (1, 0));
    assert!(next.1);
    assert!(!pop(&mut queue, now, &mut drops).unwrap().1);
    assert_eq!(drops, 0);
}

#[test]
fn backlogged_flows_share_equally() {
    let now = any_instant();
    let mut queue = queue(500, 5000);
    let flows: Vec<_> = (0..5).map(|_| queue.add_flow()).collect();
    for (i, flow) in (0..).zip(&flows) {
        for n in 0..100 {
            queue.push(*flow, now, (i, n));
        }
    }
    let mut seen = BTreeMap::new();
    let mut drops = 0;
    for _ in 0..250 {
        *seen.entry(pop(&mut queue, now, &mut drops).unwrap().0.0).or_insert(0) += 1;
    }
    assert!(seen.values().all(|n| *n == 50), "{seen:?}");
}

#[test]
fn a_flow_that_comes_and_goes_cannot_starve_the_rest() {
    let now = any_instant();
    let mut queue = queue(500, 5000);
    let bulk = queue.add_flow();
    let sly = queue.add_flow();
    for n in 0..100 {
        queue.push(bulk, now, (0, n));
    }
    let mut served = [0, 0];
    let mut drops = 0;
    for n in 0..100 {
        queue.push(sly, now, (1, n));
        served[pop(&mut queue, now, &mut drops).unwrap().0.0 as usize] += 1;
    }
    assert!(served[0] >= 45, "{served:?}");
}

#[test]
fn standing_delay_makes_codel_drop_and_short_bursts_do_not() {
    let start = any_instant();
    let mut queue = queue(5000, 5000);
    let flow = queue.add_flow();
    // A burst that drains within the interval loses nothing.
    let mut drops = 0;
    for n in 0..90 {
        queue.push(flow, start, (0, n));
    }
    for ms in 0..90 {
        pop(&mut queue, start + Duration::from_millis(ms), &mut drops);
    }
    assert_eq!(drops, 0);
    // Twice as many arrivals as departures for two seconds.
    for ms in 0..2000 {
        let now = start + Duration::from_secs(1) + Duration::from_millis(ms);
        queue.push(flow, now, (0, 0));
        queue.push(flow, now, (0, 0));
        pop(&mut queue, now, &mut drops);
    }
    assert!(drops > 20, "{drops}");
}

/// What CoDel drops in ten seconds of a link that sends two cells in 8.4 ms (150 kB/s), when each of so many circuits has always so many
/// messages of three cells waiting.
fn dropped_at_a_narrow_link(circuits: usize, messages: usize) -> u64 {
    let start = any_instant();
    let mut queue = queue(500, 5000);
    let flows: Vec<_> = (0..circuits).map(|_| queue.add_flow()).collect();
    let mut waiting = vec![0; circuits];
    let mut drops = 0;
    for datagram in 0..1_190 {
        let now = start + Duration::from_micros(8_400 * datagram);
        for ((name, flow), waiting) in (0..).zip(&flows).zip(&mut waiting) {
            while *waiting + 3 <= 3 * messages {
                for n in 0..3 {
                    queue.push(*flow, now, (name, n));
                }
                *waiting += 3;
            }
        }
        for _ in 0..2 {
            let before = drops;
            if let Some(((name, _), _)) = pop(&mut queue, now, &mut drops) {
                waiting[name as usize] -= 1 + usize::try_from(drops - before).unwrap();
            }
        }
    }
    drops
}

#[test]
fn one_message_is_no_standing_queue_however_narrow_the_link() {
    // The shortest queue of a sender that keeps a narrow link busy: one message leaves, one waits.
    assert_eq!(dropped_at_a_narrow_link(1, 1), 0);
    assert_eq!(dropped_at_a_narrow_link(1, 2), 0);
    // Two that wait behind it do stand there.
    let dropped = dropped_at_a_narrow_link(1, 4);
    assert!((40..=100).contains(&dropped), "{dropped}: they do, and of 2,380 cells one in 25 goes at most");
    // However many share the link, each may have one: others wait for none of it, as circuits take turns.
    assert_eq!(dropped_at_a_narrow_link(20, 1), 0);
    assert!(dropped_at_a_narrow_link(20, 4) > 40);
}

#[test]
fn the_fattest_flow_pays_for_the_link() {
    let now = any_instant();
    let mut queue = queue(100, 120);
    let fat = queue.add_flow();
    let thin = queue.add_flow();
    for n in 0..100 {
        assert_eq!(queue.push(fat, now, (0, n)), PushDrops::default());
    }
    assert_eq!(queue.push(fat, now, (0, 100)), PushDrops { circuit: 1, link: 0 });
    for n in 0..20 {
        assert_eq!(queue.push(thin, now, (1, n)), PushDrops::default());
    }
    assert_eq!(queue.push(thin, now, (1, 20)), PushDrops { circuit: 0, link: 50 });
    assert_eq!(queue.len(), 71);
    assert_eq!(queue.remove_flow(thin), 21);
}

/// Fills a flow, lets all cells but `left` go.
fn fill_and_drain(queue: &mut FairQueue<(u32, u32)>, flow: FlowId, cells: u32, left: usize) {
    let now = any_instant();
    for n in 0..cells {
        queue.push(flow, now, (0, n));
    }
    let mut drops = 0;
    while queue.len() > left {
        pop(queue, now, &mut drops).expect("a cell");
    }
}

#[test]
fn flows_give_memory_back_that_they_do_not_need() {
    let now = any_instant();
    let mut queue = queue(500, 5000);
    let flow = queue.add_flow();
    // A call never allocates, however often the memory is looked at.
    for n in 0..100 {
        queue.push(flow, now, (0, n));
        assert!(pop(&mut queue, now, &mut 0).is_some());
        queue.shrink();
        assert_eq!(queue.flows[0].cells.capacity(), KEEP_CELLS);
    }
    // A small burst leaves room for another for a while.
    fill_and_drain(&mut queue, flow, 50, 0);
    assert!(queue.flows[0].cells.capacity() >= 50);
    queue.shrink();
    assert!(queue.flows[0].cells.capacity() >= 50, "it was needed since the last look");
    queue.shrink();
    assert_eq!(queue.flows[0].cells.capacity(), 0);
}

/// Whoever fills one flow after the other, each within the bounds, must not have the memory of all at once: neither by
/// leaving them empty nor by leaving a cell in each.
#[test]
fn room_without_cells_is_bounded() {
    for left in [0, 1] {
        let mut queue = queue(1025, 4000);
        let flow = queue.add_flow();
        fill_and_drain(&mut queue, flow, 1025, left);
        assert!(queue.flows[0].cells.capacity() <= SPARE_CELLS, "{left} left");
    }
    let mut queue = queue(1025, 4000);
    for n in 0..128 {
        let flow = queue.add_flow();
        fill_and_drain(&mut queue, flow, 1025, 0);
        if n % 16 == 0 {
            queue.drop_fattest();
            queue.shrink();
        }
    }
    for _ in 0..2 {
        // A cell for each now and then does not keep more.
        for flow in 0..128 {
            queue.push(FlowId(flow), any_instant(), (0, 0));
        }
        queue.shrink();
        while pop(&mut queue, any_instant(), &mut 0).is_some() {}
    }
    let room: usize = queue.flows.iter().map(|flow| flow.cells.capacity()).sum();
    assert!(room <= 128 * KEEP_CELLS, "room for {room} cells");
}

/// The cells that go because they are too many or too old give their memory back as well.
#[test]
fn room_of_dropped_cells_is_bounded() {
    let now = any_instant();
    let mut queue = queue(1025, 4000);
    let flow = queue.add_flow();
    for n in 0..1025 {
        queue.push(flow, now, (0, n));
    }
    queue.drop_older(now + Duration::from_secs(3), Duration::from_secs(2));
    assert!(queue.flows[0].cells.capacity() <= SPARE_CELLS);
    for n in 0..1025 {
        queue.push(flow, now, (0, n));
    }
    while queue.drop_fattest() > 0 {}
    assert!(queue.flows[0].cells.capacity() <= SPARE_CELLS);
}

#[test]
fn a_fat_flow_among_thousands_of_thin_ones_is_found() {
    let now = any_instant();
    let mut queue = queue(500, 4500);
    let thin: Vec<_> = (0..4000).map(|_| queue.add_flow()).collect();
    let fat = queue.add_flow();
    for flow in &thin {
        queue.push(*flow, now, (0, 0));
    }
    for n in 0..500 {
        queue.push(fat, now, (1, n));
    }
    // The fat one pays until it is about as thin as the others, whoever pushes.
    let mut dropped = 0;
    for flow in thin.iter().take(400) {
        dropped += queue.push(*flow, now, (0, 1)).link;
    }
    assert!(dropped >= 400);
    let fat_left = queue.remove_flow(fat);
    assert_eq!(fat_left, 500 - dropped, "nobody else has lost a cell");
}

#[test]
fn flows_that_come_and_go_on_a_silent_link_leave_no_place_behind() {
    let now = any_instant();
    let mut queue = queue(8, 24);
    for n in 0..10_000 {
        let flow = queue.add_flow();
        queue.push(flow, now, (0, n));
        queue.remove_flow(flow);
    }
    assert!(queue.memory() < 100_000, "{}", queue.memory());
}

#[test]
fn old_cells_can_be_dropped_by_age() {
    let now = any_instant();
    let mut queue = queue(8, 24);
    let flows = [queue.add_flow(), queue.add_flow()];
    for n in 0..6 {
        for flow in flows {
            queue.push(flow, now + Duration::from_secs(n), (0, 0));
        }
    }
    assert_eq!(queue.drop_older(now + Duration::from_secs(5), Duration::from_secs(2)), 8);
    assert_eq!(queue.len(), 4);
}

#[derive(Clone, Debug)]
enum Step {
    Push(usize),
    Pop,
    Remove(usize),
    Fattest,
    Shrink,
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..6usize).prop_map(Step::Push),
        6 => Just(Step::Pop),
        1 => (0..6usize).prop_map(Step::Remove),
        1 => Just(Step::Fattest),
        1 => Just(Step::Shrink),
        2 => any::<u16>().prop_map(Step::Wait),
    ]
}

proptest! {
    /// CoDel takes nothing of a circuit that never has more than the cells of one message waiting behind the next.
    #[test]
    fn a_circuit_with_one_message_waiting_loses_none(steps in prop::collection::vec((0..3usize, any::<bool>(), 0u64..400), 1..400)) {
        let mut now = any_instant();
        let mut queue = queue(500, 5000);
        let flows: Vec<_> = (0..3u32).map(|name| (name, queue.add_flow())).collect();
        let (mut waiting, mut drops) = ([0; 3], 0);
        for (flow, push, wait) in steps {
            now += Duration::from_millis(wait);
            let (name, id) = flows[flow];
            if push && waiting[flow] < 4 {
                queue.push(id, now, (name, 0));
                waiting[flow] += 1;
            } else if let Some(((name, _), _)) = pop(&mut queue, now, &mut drops) {
                waiting[name as usize] -= 1;
            }
            prop_assert_eq!(drops, 0);
        }
    }

    #[test]
    fn bounds_hold_order_holds_and_every_cell_is_accounted_for(steps in prop::collection::vec(step(), 1..600)) {
        let mut now = any_instant();
        let mut queue = queue(8, 24);
        let mut flows: Vec<_> = (0..6u32).map(|i| (i, queue.add_flow())).collect();
        let (mut pushed, mut popped, mut dropped, mut codel) = (0u64, 0u64, 0u64, 0u64);
        let mut serial = 0;
        let mut last: BTreeMap<u32, u32> = BTreeMap::new();
        let mut fresh = 6;
        for step in steps {
            match step {
                Step::Push(i) => {
                    serial += 1;
                    let (name, flow) = flows[i];
                    let drops = queue.push(flow, now, (name, serial));
                    pushed += 1;
                    dropped += (drops.circuit + drops.link) as u64;
                }
                Step::Pop => {
                    let before = queue.len();
                    match pop(&mut queue, now, &mut codel) {
                        Some(out) => {
                            popped += 1;
                            let (name, serial) = out.0;
                            prop_assert!(last.insert(name, serial).is_none_or(|old| old < serial), "order within a flow");
                        }
                        None => prop_assert_eq!(queue.len(), 0, "had {}", before),
                    }
                }
                Step::Remove(i) => {
                    dropped += queue.remove_flow(flows[i].1) as u64;
                    flows[i] = (fresh, queue.add_flow());
                    fresh += 1;
                }
                Step::Fattest => dropped += queue.drop_fattest() as u64,
                Step::Shrink => queue.shrink(),
                Step::Wait(ms) => now += Duration::from_millis(u64::from(ms % 200)),
            }
            prop_assert!(queue.len() <= 24);
            prop_assert_eq!(pushed, popped + dropped + codel + queue.len() as u64);
        }
    }
}
