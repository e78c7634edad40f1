//! A relay's configuration file: any text gives a configuration or one line that says what is wrong.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zmesh_program::config::RelayConfig;

fuzz_target!(|text: &str| {
    if let Err(why) = RelayConfig::parse(text) {
        assert!(!why.is_empty() && !why.contains('\n'), "{why:?}");
    }
});
