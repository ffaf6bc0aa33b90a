//! What a correct peer would not send.

/// A peer broke the protocol. Nothing of what it sent took effect; the driver ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Violation {
    /// A message larger in some count than its bound.
    TooMuch,
    /// A delta whose parts contradict each other or the limits of time.
    MalformedDelta,
    /// A key that does not belong to the shard it was sent to.
    WrongShard,
    /// A message that names another sender than the connection it came over.
    WrongSender,
    /// A message of another epoch, under a view that the configuration fixes.
    WrongEpoch,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TooMuch => "a message exceeds its bounds",
            Self::MalformedDelta => "a delta contradicts itself",
            Self::WrongShard => "a key belongs to another shard",
            Self::WrongSender => "a message names another sender",
            Self::WrongEpoch => "a message names an epoch that there is not",
        })
    }
}
