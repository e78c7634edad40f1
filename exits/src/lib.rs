//! Where traffic leaves zMesh: exit policy and direct egress
