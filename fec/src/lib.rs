//! Forward error correction for zMesh links
