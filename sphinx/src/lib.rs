//! The Sphinx packet, the one-round-trip circuit set-up and the cell layers of zMesh
