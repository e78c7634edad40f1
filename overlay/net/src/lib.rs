//! The zMesh node: UDP driver, QUIC over circuits and the circuit socket API

pub mod egress;
