//! `zmesh path explain`, on paper and on relays that run.

use crate::support::running::Running;
use crate::support::{Folder, network};
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn a_path_of_a_network_file_is_explained_without_measures() {
    let folder = Folder::new();
    folder.write("network", &network(8, 2));
    let told = json(&folder.succeeds(&["path", "explain", "--network", "network", "--json"]));
    let path = told["path"].as_array().expect("relays");
    assert_eq!(path.len(), 3);
    assert_eq!((path[0]["place"].as_str(), path[2]["place"].as_str()), (Some("guard"), Some("exit")));
    // Behind a guard: two exits and six others, or one and six if the guard is an exit.
    let paths = told["paths"].as_u64().expect("a number");
    assert!(paths == 12 || paths == 6, "{paths}");
    let bits = told["choice"]["bits"].as_f64().expect("bits");
    assert!((bits - (paths as f64).log2()).abs() < 0.01);
    assert_eq!(told["choice"], told["uniform"]);
    assert_eq!((&told["capacities_known"], &told["latencies_known"]), (&Value::Bool(false), &Value::Bool(false)));
    assert_eq!(told["bits_given_up"], 0.0);
    assert!(path.iter().all(|hop| hop["measured_ms"].is_null() && hop["expected_ms_from_before"].is_null()));

    let words = folder.succeeds(&["path", "explain", "--network", "network", "--hops", "2"]);
    assert!(words.contains("guard") && words.contains("exit") && words.contains("entropy"), "{words}");
    assert!(
        words.contains("of a network file nobody ever does") && words.contains("this is a test network"),
        "{words}"
    );
    folder.unchanged();

    let line = folder.fails(&["path", "explain", "--network", "network", "--country", "IS"], 1);
    assert!(line.contains("no exit in IS takes port 443"), "{line}");
    folder.fails(&["path", "explain", "--network", "missing"], 2);
    assert_eq!(folder.run(&["path", "explain", "--network", "network", "--country", "Iceland"]).code, 2);
}

#[test]
fn a_circuit_is_built_and_every_relay_of_it_measured() {
    let folder = Folder::new();
    let relays = Running::start(&folder, &["testnet", "--dir", "net", "--relays", "5", "--exits", "2", "--file"]);
    let told = folder.run(&["path", "explain", "--network", "net/network", "--measure", "--json", "--port", "0"]);
    drop(relays);
    assert_eq!(told.code, 0, "{}", told.stderr);
    let told = json(&told.stdout);
    let path = told["path"].as_array().expect("relays");
    assert_eq!(path.len(), 3);
    for hop in path {
        // On one machine a round trip may be less than the tenth of a millisecond that is told.
        assert!(hop["measured_ms"].is_f64(), "{told}");
    }
    assert!(
        !folder.names().iter().any(|name| name.to_string_lossy().contains("guards")),
        "a test network is thrown away"
    );
}
