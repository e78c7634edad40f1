//! Everything that traversal reads from the network: signals, descriptions, candidates, probes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zmesh_proto::nat::exchange::{Description, PAYLOAD_LEN};
use zmesh_proto::nat::probe::{Probe, ProbeKey};
use zmesh_proto::wire::datagram::Header;
use zmesh_proto::wire::frame::signal::{SIGNAL_LEN, Signal};

fuzz_target!(|bytes: &[u8]| {
    if let Some(probe) = Probe::read(bytes) {
        assert!(!Probe::check(bytes, &ProbeKey::from_bytes([7; 32])), "a forged probe");
        assert!(Header::read(bytes).is_ok());
        let _ = probe;
    }
    let mut signal = [0; SIGNAL_LEN];
    let len = bytes.len().min(SIGNAL_LEN);
    signal[..len].copy_from_slice(&bytes[..len]);
    if let Some(read) = Signal::read(&signal) {
        assert_eq!(Signal::read(&read.to_bytes()), Some(read));
    }
    let mut payload = [0; PAYLOAD_LEN];
    let len = bytes.len().min(PAYLOAD_LEN);
    payload[..len].copy_from_slice(&bytes[..len]);
    if let Some(read) = Description::read(&payload) {
        assert_eq!(&read.to_bytes()[..], &payload[..]);
    }
});
