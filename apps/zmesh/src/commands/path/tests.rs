use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng as _;
use zmesh_proto::directory::{Coordinate, Measure};
use zmesh_proto::keys::RelayKeys;
use zmesh_proto::wire::descriptor::{Descriptor, DescriptorInfo, ExitSummary, PortSet, Terms};
use zmesh_proto::wire::document::{Draft, DraftTerms, SignerId};

use super::*;

const NOW: u64 = 1_760_000_000;

/// Twelve relays on a line, 20 ms apart, the last four of them exits; the later ones are larger.
fn measured() -> Network {
    let mut rng = ChaCha12Rng::from_seed([3; 32]);
    let keys: Vec<RelayKeys> = (0..12).map(|_| RelayKeys::generate(&mut rng, NOW)).collect();
    let mut draft = Draft::new(DraftTerms {
        name: "measured".to_owned(),
        test_network: false,
        valid_after: NOW,
        valid_until: NOW + 86_400,
        signers: vec![SignerId(keys[0].identity_public())],
    })
    .expect("valid");
    let mut measures = BTreeMap::new();
    for (number, keys) in (0..12u8).zip(&keys) {
        let info = DescriptorInfo {
            nickname: format!("r{number}"),
            operator: format!("o{number}"),
            family: None,
            country: None,
            addresses: vec![SocketAddr::from(([20 + number, 1, 1, 1], 9001))],
            exit: (number >= 8).then(|| ExitSummary { v4: true, v6: false, ports: PortSet::all() }),
            meeting: true,
            cache: false,
            mixer: false,
            directory: false,
            region: None,
            control: Vec::new(),
        };
        let terms = Terms { published: NOW, expires: NOW + 86_400, revision: 1 };
        draft.add(Descriptor::create(keys, &info, terms).expect("valid")).expect("new");
        let place = Some(Coordinate { x: i16::from(number) * 200, y: 0, height: 5 });
        measures.insert(keys.id(), Measure { capacity: 1_000 + 100 * u32::from(number), place });
    }
    assert!(draft.sign(&keys[0].signer(), NOW).expect("signed").is_enough());
    let document = draft.into_document().expect("complete");
    Network::from_document(document, NOW).expect("valid").with_measures(measures)
}

#[test]
fn what_is_expected_and_given_up_is_told_where_there_are_measures() {
    let network = measured();
    let mut chooser = Chooser::new(&network, Preference::DEFAULT);
    let guard = network.relays().iter().find(|relay| relay.nickname() == "r2").expect("it is there").id();
    let last = LastHop::Exit { port: 443, v6: false };
    let request = PathRequest { hops: 3, last, exclude: &[], guard: Some(guard), country: None };
    let path = chooser.select(&request, &mut ChaCha12Rng::from_seed([4; 32])).expect("a path");
    let explanation = chooser.explain(&request).expect("a path");
    let mut report = Report::new(&network, &chooser, &path, explanation);
    report.measured(1, Duration::from_millis(31));
    let told = report.to_json();
    let number = |hop: usize| -> f64 {
        let name = told["path"][hop]["relay"].as_str().expect("a name");
        name[1..].parse().expect("a number")
    };
    assert_eq!(number(0), 2.0);
    for hop in 1..3 {
        let expected = told["path"][hop]["expected_ms_from_before"].as_f64().expect("a time");
        let way = ((number(hop) - number(hop - 1)).abs() * 20.0 + 1.0).min(200.0);
        assert!((expected - way).abs() < 0.11, "{told}");
    }
    assert_eq!(told["path"][1]["measured_ms"], 31.0);
    assert!(told["path"][0]["expected_ms_from_before"].is_null(), "nothing is expected of the way to the guard");
    assert!(told["path"][1]["capacity_kb_s"].as_u64().expect("measured") >= 1_000);
    let bits = |of: &str| told[of]["bits"].as_f64().expect("bits");
    assert!(bits("choice") < bits("uniform") && bits("choice") >= 0.8 * bits("uniform"), "{told}");
    assert!((told["bits_given_up"].as_f64().expect("bits") - (bits("uniform") - bits("choice"))).abs() < 0.02);
    let most = |of: &str| told[of]["nine_of_ten_ms"].as_f64().expect("a time");
    assert!(most("choice") < most("uniform"), "{told}");
    assert!(told["ms_gained"].as_f64().expect("a time") >= 0.0, "{told}");
}

#[test]
fn countries_are_two_letters() {
    assert_eq!(country("de"), Ok(*b"DE"));
    assert!(country("d").is_err() && country("d1").is_err() && country("deu").is_err() && country("é").is_err());
}
