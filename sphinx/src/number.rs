//! Cell numbers on the wire: 2 lane bits above 30 counter bits.

/// Position of the lane bits.
pub(crate) const LANE_SHIFT: u32 = 30;
/// The counter bits.
pub(crate) const COUNTER_MASK: u32 = (1 << LANE_SHIFT) - 1;
/// Lanes that a number can name.
pub(crate) const LANES: usize = 4;

/// Splits a number into lane and counter bits.
pub(crate) fn split(number: u32) -> (u8, u32) {
    (number.to_be_bytes()[0] >> 6, number & COUNTER_MASK)
}

/// Joins a lane and counter bits.
pub(crate) fn join(lane: u8, counter: u32) -> u32 {
    u32::from(lane) << LANE_SHIFT | counter & COUNTER_MASK
}

/// `counter + offset` among the counter bits.
pub(crate) fn add(counter: u32, offset: u32) -> u32 {
    counter.wrapping_add(offset) & COUNTER_MASK
}

/// `counter − offset` among the counter bits.
pub(crate) fn subtract(counter: u32, offset: u32) -> u32 {
    counter.wrapping_sub(offset) & COUNTER_MASK
}

/// The low 30 bits of a 64-bit counter.
pub(crate) fn low(counter: u64) -> u32 {
    let bytes = (counter & u64::from(COUNTER_MASK)).to_le_bytes();
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// The 64-bit counter nearest to `expected` whose low 30 bits are `low`.
pub(crate) fn extend(low: u32, expected: u64) -> u64 {
    const RANGE: u64 = 1 << LANE_SHIFT;
    let counter = expected & !u64::from(COUNTER_MASK) | u64::from(low);
    if counter + RANGE / 2 < expected {
        counter + RANGE
    } else if counter > expected + RANGE / 2 && counter >= RANGE {
        counter - RANGE
    } else {
        counter
    }
}
