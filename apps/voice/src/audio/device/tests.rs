//! The keeper, with devices made up: what it does when they come and go.

use super::keeper::{Backend, Keeper, Pace, Pulse};
use super::*;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The devices that are plugged in, and the pulses of the open ones.
#[derive(Clone, Default)]
struct Desk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    plugged: Vec<&'static str>,
    open: BTreeMap<String, Pulse>,
    closed: Vec<String>,
}

struct Open(Desk, String);

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = self.0.0.lock().unwrap();
        state.open.remove(&self.1);
        state.closed.push(self.1.clone());
    }
}

impl Backend for Desk {
    type Open = Open;
    type End = String;

    fn open(&mut self, name: Option<&str>, pulse: Pulse) -> Result<(Open, String, String), DeviceError> {
        let mut state = self.0.lock().unwrap();
        let name = match name {
            Some(name) => name.to_owned(),
            None => (*state.plugged.first().ok_or(DeviceError::NoMicrophone)?).to_owned(),
        };
        if !state.plugged.contains(&name.as_str()) {
            return Err(DeviceError::NoSuch { what: Kind::Microphone, name });
        }
        state.open.insert(name.clone(), pulse);
        drop(state);
        Ok((Open(self.clone(), name.clone()), name.clone(), name))
    }

    fn is_there(&mut self, name: &str) -> bool {
        self.0.lock().unwrap().plugged.contains(&name)
    }
}

impl Desk {
    fn plug(&self, name: &'static str) {
        self.0.lock().unwrap().plugged.push(name);
    }

    fn pull(&self, name: &str) {
        let mut state = self.0.lock().unwrap();
        state.plugged.retain(|plugged| *plugged != name);
        let pulse = state.open.get(name).cloned();
        drop(state);
        if let Some(pulse) = pulse {
            pulse.lost();
        }
    }
}

const QUICK: Pace =
    Pace { retry: Duration::from_millis(5), look: Duration::from_millis(5), patience: Duration::from_secs(3_600) };

fn wanted(name: Option<&str>) -> (Wanted, mpsc::Receiver<Notice>) {
    let (sender, receiver) = mpsc::channel(64);
    (Wanted { name: name.map(str::to_owned), notices: Some(sender) }, receiver)
}

fn using(name: &str) -> Notice {
    Notice::Using { what: Kind::Microphone, name: name.into() }
}

fn lost(name: &str) -> Notice {
    Notice::Lost { what: Kind::Microphone, name: name.into() }
}

#[tokio::test]
async fn a_device_that_is_pulled_out_is_replaced_and_taken_back() {
    let desk = Desk::default();
    desk.plug("built-in");
    desk.plug("headset");
    let (wanted, mut notices) = wanted(Some("headset"));
    let (keeper, name) = Keeper::start(Kind::Microphone, wanted, desk.clone(), QUICK).unwrap();
    assert_eq!((name.as_str(), keeper.changed().as_deref()), ("headset", Some("headset")));
    assert_eq!(keeper.changed(), None, "only when there is a new one");

    desk.pull("headset");
    assert_eq!(notices.recv().await, Some(lost("headset")));
    assert_eq!(notices.recv().await, Some(using("built-in")));
    assert_eq!(keeper.changed().as_deref(), Some("built-in"));

    desk.plug("headset");
    assert_eq!(notices.recv().await, Some(using("headset")));
    assert_eq!(keeper.changed().as_deref(), Some("headset"));
    assert_eq!(desk.0.lock().unwrap().closed, ["headset", "built-in"], "what is no longer used is closed");

    drop(keeper);
    assert_eq!(notices.recv().await, None, "the keeper has stopped");
    // The device is closed by its own thread, a moment later; a test that hangs here has found it open for ever.
    while !desk.0.lock().unwrap().open.is_empty() {
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn without_any_device_there_is_silence_until_one_comes() {
    let desk = Desk::default();
    desk.plug("only");
    let (wanted, mut notices) = wanted(None);
    let (keeper, _) = Keeper::start(Kind::Microphone, wanted, desk.clone(), QUICK).unwrap();
    assert!(keeper.changed().is_some());
    desk.pull("only");
    assert_eq!(notices.recv().await, Some(lost("only")));
    assert_eq!(notices.recv().await, Some(Notice::Waiting { what: Kind::Microphone }), "said once");
    assert_eq!(keeper.changed(), None);
    desk.plug("another");
    assert_eq!(notices.recv().await, Some(using("another")));
    assert_eq!(keeper.changed().as_deref(), Some("another"));
}

#[tokio::test]
async fn a_device_that_moves_nothing_is_given_up() {
    let desk = Desk::default();
    desk.plug("dead");
    let (wanted, mut notices) = wanted(None);
    let pace = Pace { patience: Duration::from_millis(20), ..QUICK };
    let (_keeper, _) = Keeper::start(Kind::Microphone, wanted, desk.clone(), pace).unwrap();
    assert_eq!(notices.recv().await, Some(lost("dead")));
    // It is tried again: perhaps it only needed that.
    assert_eq!(notices.recv().await, Some(using("dead")));
}

#[tokio::test]
async fn late_complaints_about_a_device_given_up_long_ago_change_nothing() {
    let desk = Desk::default();
    desk.plug("built-in");
    desk.plug("headset");
    let (wanted, mut notices) = wanted(Some("headset"));
    let (keeper, _) = Keeper::start(Kind::Microphone, wanted, desk.clone(), QUICK).unwrap();
    let old = desk.0.lock().unwrap().open["headset"].clone();
    old.moved(480);
    assert_eq!(keeper.counter().read().0, 480);
    desk.pull("headset");
    assert_eq!(notices.recv().await, Some(lost("headset")));
    assert_eq!(notices.recv().await, Some(using("built-in")));
    old.lost();
    desk.plug("headset");
    assert_eq!(notices.recv().await, Some(using("headset")), "and not: built-in lost");
}

#[test]
fn a_device_that_is_not_there_at_the_start_is_an_error() {
    let desk = Desk::default();
    let none = Keeper::start(Kind::Microphone, Wanted::default_device(), desk.clone(), QUICK).map(|_| ());
    assert!(matches!(none, Err(DeviceError::NoMicrophone)));
    desk.plug("built-in");
    let none = Keeper::start(Kind::Microphone, wanted(Some("headset")).0, desk, QUICK).map(|_| ()).unwrap_err();
    let text = none.to_string();
    assert!(text.contains("headset") && text.contains("zmesh voice devices"), "{text}");
}
