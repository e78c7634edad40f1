//! How fast documents leave: piece by piece, and link by link.
//!
//! A piece is charged when it leaves, so a request that is given up, or read slowly, costs others nothing but what was sent of it. When pieces have
//! to wait the links take turns: whoever asks over one link again and again waits for itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use zmesh_proto::pace::Pace;
use zmesh_proto::turns::Turns;

use crate::clock;

/// How often it is looked whether the next piece may leave.
const LOOK: Duration = Duration::from_millis(10);

#[derive(Debug)]
struct Waiting<T> {
    bytes: u64,
    go: T,
}

/// Who waits. `T` is what somebody is told by that the turn has come.
#[derive(Debug)]
struct Line<T> {
    pace: Pace,
    turns: Turns<Waiting<T>>,
    looking: bool,
}

impl<T> Line<T> {
    /// Puts a piece in line; false if there is no room for it. One that has to give way to it is dropped.
    fn push(&mut self, link: u64, bytes: u64, go: T) -> bool {
        self.turns.push(link, Waiting { bytes, go }).is_ok()
    }

    /// The next one whose piece may leave now.
    fn next(&mut self, now: Instant) -> Option<T> {
        let pace = &mut self.pace;
        self.turns.pop_if(|waiting| pace.take(now, waiting.bytes)).map(|waiting| waiting.go)
    }
}

/// One rate for all pieces of a kind.
pub(super) struct Lane(Mutex<Line<oneshot::Sender<()>>>);

impl Lane {
    /// For so many bytes in a second, and so many at once; at most `most` pieces wait.
    pub(super) fn new(per_second: u64, burst: u64, most: usize) -> Arc<Self> {
        let line = Line { pace: Pace::new(per_second, burst), turns: Turns::new(most), looking: false };
        Arc::new(Self(Mutex::new(line)))
    }

    fn line(&self) -> MutexGuard<'_, Line<oneshot::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a piece of this length, for somebody who came by this link, may leave; false if too many wait over that link.
    ///
    /// # Cancel safety
    /// What was waited for leaves nothing behind but one piece of the rate.
    pub(super) async fn turn(self: &Arc<Self>, link: u64, bytes: usize) -> bool {
        let (go, gone) = oneshot::channel();
        {
            let mut line = self.line();
            if !line.push(link, bytes as u64, go) {
                return false;
            }
            line.let_go(clock::now());
            if !line.turns.is_empty() && !line.looking {
                line.looking = true;
                tokio::spawn(look(Arc::clone(self)));
            }
        }
        gone.await.is_ok()
    }
}

impl Line<oneshot::Sender<()>> {
    fn let_go(&mut self, now: Instant) {
        while let Some(go) = self.next(now) {
            let _ = go.send(());
        }
    }
}

/// Lets pieces go until none waits.
async fn look(lane: Arc<Lane>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let mut line = lane.line();
        line.let_go(clock::now());
        if line.turns.is_empty() {
            line.looking = false;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: u64 = 64 << 10;

    fn line(most: usize) -> Line<u64> {
        Line { pace: Pace::new(10 * PIECE, 2 * PIECE), turns: Turns::new(most), looking: false }
    }

    /// Twenty downloads over one link and one over another, for ten seconds: each has its next piece in line when one has left.
    #[test]
    fn a_crowd_over_one_link_leaves_the_others_their_share() {
        let (mut line, start) = (line(64), clock::now());
        let mut left = [0, 0];
        for _ in 0..20 {
            assert!(line.push(0, PIECE, 0));
        }
        assert!(line.push(1, PIECE, 1));
        for tenth in 0..100 {
            while let Some(link) = line.next(start + Duration::from_millis(100 * tenth)) {
                left[usize::try_from(link).unwrap()] += 1;
                assert!(line.push(link, PIECE, link));
            }
        }
        assert!((99..=102).contains(&(left[0] + left[1])), "{left:?}: the rate is used");
        assert!(left[1] >= 48, "{left:?}: and one link has half of it");
    }

    #[test]
    fn the_rate_and_the_number_of_those_who_wait_are_bounded() {
        let (mut line, now) = (line(5), clock::now());
        for number in 0..5 {
            assert!(line.push(7, PIECE, number));
        }
        assert!(!line.push(7, PIECE, 5), "no room for more of this link");
        assert!(line.push(8, PIECE, 6), "but for another one");
        assert_eq!((line.next(now), line.next(now), line.next(now)), (Some(0), Some(6), None), "two pieces at once");
        let later = now + Duration::from_millis(100);
        assert_eq!((line.next(later), line.next(later)), (Some(1), None), "and ten in a second");
    }

    #[tokio::test]
    async fn pieces_leave_as_the_rate_allows_and_who_is_displaced_hears_of_it() {
        let lane = Lane::new(100 * PIECE, PIECE, 2);
        let piece = usize::try_from(PIECE).unwrap();
        for _ in 0..3 {
            assert!(lane.turn(1, piece).await);
        }
        lane.line().pace = Pace::new(1, 1);
        let crowd = [0, 1].map(|_| {
            tokio::spawn({
                let lane = Arc::clone(&lane);
                async move { lane.turn(1, piece).await }
            })
        });
        while lane.line().turns.len() < 2 {
            tokio::task::yield_now().await;
        }
        assert!(!lane.turn(1, piece).await, "no room");
        let other = tokio::spawn({
            let lane = Arc::clone(&lane);
            async move { lane.turn(2, piece).await }
        });
        let [_, last] = crowd;
        assert!(!last.await.unwrap_or(true), "the latest of the link of which most wait");
        lane.line().pace = Pace::new(1 << 30, 1 << 30);
        assert!(other.await.unwrap_or(false));
    }
}
