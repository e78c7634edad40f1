//! Calls over circuits of this project's overlay.

use super::{DatagramTransport, TransportError};
use zmesh_overlay::{CircuitError, DatagramCircuit};

fn gone(error: CircuitError) -> TransportError {
    TransportError(error.to_string())
}

impl DatagramTransport for DatagramCircuit {
    async fn joined(&self) -> Result<(), TransportError> {
        DatagramCircuit::joined(self).await.map_err(gone)
    }

    fn send(&self, message: &[u8]) -> Result<(), TransportError> {
        DatagramCircuit::send(self, message).map_err(gone)
    }

    async fn recv(&self) -> Result<Vec<u8>, TransportError> {
        DatagramCircuit::recv(self).await.map_err(gone)
    }
}
