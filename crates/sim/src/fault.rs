//! What can go wrong: the kinds of faults, of which each seed draws some.

pub(crate) mod schedule;
pub(crate) mod strikes;

/// A kind of fault. Each seed draws a subset (swarm testing: Groce et al., ISSTA 2012), because
/// faults that are always all present hide each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// Messages are lost.
    Loss,
    /// Messages arrive twice.
    Duplicate,
    /// Messages overtake each other.
    Reorder,
    /// Single messages are much too late.
    Delay,
    /// One direction between two nodes is cut.
    OneWay,
    /// A node, or half of them, is cut off.
    Partition,
    /// A node stands still and then goes on with everything that arrived meanwhile.
    Pause,
    /// A process dies and starts anew, empty.
    Crash,
    /// All messages of one node are slow.
    Slow,
    /// Clocks differ within the tolerated skew.
    Skew,
    /// One clock differs by more than is tolerated.
    WrongClock,
    /// Clocks run at different speeds.
    Drift,
    /// The outbox holds few sessions, so that it overflows.
    SmallOutbox,
    /// There is room for few sessions.
    SmallMemory,
    /// Few sessions take all requests.
    Hot,
    /// Sessions live and idle for seconds only.
    ShortLives,
    /// Half of the nodes, or as near as can be, are cut off from the others.
    EvenSplit,
    /// One node is cut off from all others.
    Isolated,
    /// Two nodes are cut off from each other, and both reach everybody else.
    Partial,
    /// Two halves that only one node reaches both of.
    Bridge,
    /// Every node reaches a majority, and no two the same.
    Ring,
    /// A node that has never run starts in the middle.
    Join,
    /// A node is told to hand over and go, and comes back later.
    Drain,
    /// A process dies and starts again and again.
    Flap,
    /// The number of copies changes.
    Resize,
    /// All processes die, and all start anew.
    TotalLoss,
    /// Views are late, in any order, and many never arrive.
    LateViews,
    /// For a while nothing can be decided.
    NoLeader,
    /// Proposals are lost, late, or arrive twice.
    LostDecisions,
    /// A process that runs is removed.
    WrongRemoval,
    /// Most nodes are gone for good, as it seems; a survivor begins anew.
    Recover,
    /// Nodes stand in two or three zones.
    Zones,
    /// Answers to repair requests may spend little.
    SmallBudget,
}

impl FaultKind {
    /// Those that can happen while the view is fixed.
    pub const FIXED: [Self; 16] = [
        Self::Loss,
        Self::Duplicate,
        Self::Reorder,
        Self::Delay,
        Self::OneWay,
        Self::Partition,
        Self::Pause,
        Self::Crash,
        Self::Slow,
        Self::Skew,
        Self::WrongClock,
        Self::Drift,
        Self::SmallOutbox,
        Self::SmallMemory,
        Self::Hot,
        Self::ShortLives,
    ];

    /// All kinds; those beyond [`Self::FIXED`] need views that are agreed.
    pub const ALL: [Self; 33] = [
        Self::Loss,
        Self::Duplicate,
        Self::Reorder,
        Self::Delay,
        Self::OneWay,
        Self::Partition,
        Self::Pause,
        Self::Crash,
        Self::Slow,
        Self::Skew,
        Self::WrongClock,
        Self::Drift,
        Self::SmallOutbox,
        Self::SmallMemory,
        Self::Hot,
        Self::ShortLives,
        Self::EvenSplit,
        Self::Isolated,
        Self::Partial,
        Self::Bridge,
        Self::Ring,
        Self::Join,
        Self::Drain,
        Self::Flap,
        Self::Resize,
        Self::TotalLoss,
        Self::LateViews,
        Self::NoLeader,
        Self::LostDecisions,
        Self::WrongRemoval,
        Self::Recover,
        Self::Zones,
        Self::SmallBudget,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Duplicate => "duplicate",
            Self::Reorder => "reorder",
            Self::Delay => "delay",
            Self::OneWay => "one-way",
            Self::Partition => "partition",
            Self::Pause => "pause",
            Self::Crash => "crash",
            Self::Slow => "slow",
            Self::Skew => "skew",
            Self::WrongClock => "wrong-clock",
            Self::Drift => "drift",
            Self::SmallOutbox => "small-outbox",
            Self::SmallMemory => "small-memory",
            Self::Hot => "hot",
            Self::ShortLives => "short-lives",
            Self::EvenSplit => "even-split",
            Self::Isolated => "isolated",
            Self::Partial => "partial",
            Self::Bridge => "bridge",
            Self::Ring => "ring",
            Self::Join => "join",
            Self::Drain => "drain",
            Self::Flap => "flap",
            Self::Resize => "resize",
            Self::TotalLoss => "total-loss",
            Self::LateViews => "late-views",
            Self::NoLeader => "no-leader",
            Self::LostDecisions => "lost-decisions",
            Self::WrongRemoval => "wrong-removal",
            Self::Recover => "recover",
            Self::Zones => "zones",
            Self::SmallBudget => "small-budget",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}
