//! Simulator, end-to-end tests and benchmarks of zMesh
