//! Counters over all links of a node.

/// What happened since the node started. Nothing here names a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct LinkCounters {
    /// Short datagrams sent.
    pub sent_short: u64,
    /// Long datagrams sent.
    pub sent_long: u64,
    /// Handshake messages sent.
    pub sent_handshake: u64,
    /// Cookie replies sent.
    pub sent_cookie: u64,
    /// Datagrams of a session accepted.
    pub received_data: u64,
    /// Handshake messages accepted for work.
    pub received_handshake: u64,
    /// Cookie replies accepted.
    pub received_cookie: u64,
    /// Cells sent.
    pub cells_sent: u64,
    /// Cells received.
    pub cells_received: u64,
    /// Cells sent again because their datagram was lost.
    pub cells_again: u64,
    /// Linear combinations of cells sent to repair a loss.
    pub repairs_sent: u64,
    /// Cells received that had been lost at first: sent again, or repaired.
    pub cells_repaired: u64,
    /// Cells received once more, by repair or after it, and not handed on.
    pub cells_twice: u64,
    /// Repairs not looked at: a link had as much of that work as it may have.
    pub repairs_refused: u64,
    /// Control frames received for the first time.
    pub control_received: u64,
    /// Control frames received again.
    pub control_repeated: u64,
    /// Control frames sent again.
    pub retransmits: u64,
    /// Refused: no datagram of this protocol, or a handshake message without a valid first authenticator.
    pub refused_junk: u64,
    /// Refused: no session or handshake has this index.
    pub refused_unknown_index: u64,
    /// Refused: the counter, the handshake message or its timestamp was seen before, or is too old.
    pub refused_replay: u64,
    /// Refused: the ciphertext is not authentic.
    pub refused_bad_tag: u64,
    /// Refused: a bound on handshakes, half-open sessions or links was reached.
    pub refused_over_limit: u64,
    /// Refused: authentic, but not well-formed inside.
    pub refused_malformed: u64,
    /// Feedback that claims what cannot be.
    pub feedback_absurd: u64,
    /// Idle links that gave way to others.
    pub evicted: u64,
    /// Sessions established.
    pub handshakes: u64,
    /// Of these, sessions that renewed a link.
    pub rekeys: u64,
}
