//! The ways to lie.

/// One way to lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Habit {
    /// Two values as leader, and votes for each to those who saw it.
    Equivocate,
    /// Says nothing to some.
    Withhold,
    /// Lies about its votes when a regency ends, and collects as it likes.
    LieInStopData,
    /// Proposes what was ordered before.
    Repeat,
    /// Says old things again.
    Replay,
    /// Invents requests, signatures, heights and regencies.
    Forge,
    /// Speaks late.
    Delay,
    /// As leader speaks just before it would be given up.
    Stall,
    /// Serves decisions and bodies that are not what was ordered.
    LieInTransfer,
    /// Proposes for all clients but one.
    Starve,
    /// Proposes times far from now.
    WarpTime,
    /// Claims heights and regencies that nobody reached.
    Boast,
    /// Wants every regency to end.
    Agitate,
    /// As leader delays each proposal, always by as much, below every time-out: slow rather than dead. In plans of its own.
    Drag,
}

impl Habit {
    /// All habits that any plan may draw.
    pub const ALL: [Self; 13] = [
        Self::Equivocate,
        Self::Withhold,
        Self::LieInStopData,
        Self::Repeat,
        Self::Replay,
        Self::Forge,
        Self::Delay,
        Self::Stall,
        Self::LieInTransfer,
        Self::Starve,
        Self::WarpTime,
        Self::Boast,
        Self::Agitate,
    ];
}
