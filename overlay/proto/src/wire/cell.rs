//! A cell: the unit that every circuit moves, 512 bytes on a link whatever it carries.
//!
//! On the wire: circuit number `u32` ‖ cell number `u32` ‖ body, all big-endian. The link neither reads nor checks the
//! body: whether a cell is genuine is decided by the circuit's own layers.

/// Bytes of a cell's body.
pub const BODY_LEN: usize = 504;

/// Bytes of a cell inside a frame: circuit, number, body.
pub const CELL_LEN: usize = 8 + BODY_LEN;

/// One cell of one circuit on one link.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// The circuit's number on this link. The most significant bit is set when the link's initiator allocated it.
    pub circuit: u32,
    /// The cell number: two lane bits and a 30-bit counter, meaningful to the circuit only.
    pub number: u32,
    /// The body, under the circuit's layers.
    pub body: [u8; BODY_LEN],
}

impl Cell {
    /// Reads a cell. Every string of this length is a cell.
    #[must_use]
    pub fn read(bytes: &[u8; CELL_LEN]) -> Self {
        let [c0, c1, c2, c3, n0, n1, n2, n3, body @ ..] = bytes;
        Self {
            circuit: u32::from_be_bytes([*c0, *c1, *c2, *c3]),
            number: u32::from_be_bytes([*n0, *n1, *n2, *n3]),
            body: *body,
        }
    }

    /// Writes the cell into `out`.
    pub fn write(&self, out: &mut [u8; CELL_LEN]) {
        out[..4].copy_from_slice(&self.circuit.to_be_bytes());
        out[4..8].copy_from_slice(&self.number.to_be_bytes());
        out[8..].copy_from_slice(&self.body);
    }
}

impl std::fmt::Debug for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cell").field("circuit", &self.circuit).field("number", &self.number).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cell_reads_back_what_was_written(circuit: u32, number: u32, fill: u8) {
            let cell = Cell { circuit, number, body: [fill; BODY_LEN] };
            let mut bytes = [0; CELL_LEN];
            cell.write(&mut bytes);
            prop_assert_eq!(Cell::read(&bytes), cell);
        }
    }

    #[test]
    fn debug_shows_no_body() {
        let cell = Cell { circuit: 1, number: 2, body: [0x5a; BODY_LEN] };
        assert!(!format!("{cell:?}").contains("90"));
    }
}
