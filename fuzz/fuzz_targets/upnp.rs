//! What a router sends by UPnP, or whoever is taken for it: an answer to a search, by HTTP, a description, an answer to an order. It is
//! read or passed over, and leads to nobody but that router.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| zmesh_portmap::fuzz_upnp(data));
