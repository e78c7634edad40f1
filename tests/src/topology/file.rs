//! A network file: one signer, no voters, and nothing that changes.

use zmesh_proto::directory::Network;
use zmesh_proto::wire::descriptor::{Descriptor, Terms};
use zmesh_proto::wire::document::{Draft, DraftTerms, SignerId};

use super::{RelaySpec, UNIX_START};

/// The network that a file describes, which the first relay's operator signs.
pub(super) fn network(specs: &[RelaySpec]) -> Network {
    let signer = specs[0].keys.signer();
    let mut draft = Draft::new(DraftTerms {
        name: "simulated".to_owned(),
        test_network: true,
        valid_after: UNIX_START,
        valid_until: UNIX_START + 30 * 86_400,
        signers: vec![SignerId(signer.public())],
    })
    .expect("an empty network");
    for spec in specs {
        let descriptor = Descriptor::create(&spec.keys, &spec.info, Terms::from_now(UNIX_START))
            .expect("a descriptor that keeps the rules");
        draft.add(descriptor).expect("relays differ");
    }
    draft.sign(&signer, UNIX_START).expect("the listed signer");
    Network::decode(draft.to_text().as_bytes(), UNIX_START).expect("a file that is valid now")
}
