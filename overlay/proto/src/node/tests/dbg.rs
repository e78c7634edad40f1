use super::world::{Plan, World};
use std::time::Duration;
#[test]
fn dbg() {
    let mut world = World::new(&Plan::default());
    let circuit = world.build(4, &[0, 1, 2]);
    world.loss = 5;
    for _ in 0..300 {
        let now = world.now;
        world.node(4).send(now, circuit, b"nobody answers").unwrap();
        world.run_for(Duration::from_millis(100));
        for i in 0..5 {
            let n = &world.members[i].node;
            let l = n.core.links.next_timeout().unwrap_or(world.now);
            let t = n.core.timers.next().unwrap();
            if l < world.now || t < world.now {
                println!(
                    "{:?} member {i} links {:?} timers {:?} resume {:?}",
                    world.elapsed(),
                    l.checked_duration_since(world.start),
                    t - world.start,
                    n.resume
                );
                println!("{:?}", n.core.links);
                panic!();
            }
        }
    }
}
