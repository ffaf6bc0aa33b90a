//! What a run has met on its way: points that some run of many must meet, or the storms prove less
//! than they seem to.

use protocol::Counters;

macro_rules! points {
    ($($point:ident $text:literal,)*) => {
        /// Something that happens sometimes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Point {
            $(#[doc = $text] $point,)*
        }

        impl Point {
            /// All points.
            pub const ALL: &'static [Self] = &[$(Self::$point,)*];

            /// What it is, in words.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$point => $text,)* }
            }
        }
    };
}

points! {
    NeedSent "a delta is refused for a gap",
    SlotDegraded "a slot takes the place of dirty sessions",
    SlotRecovered "a comparison makes a slot clean",
    TombPushed "an end is pushed back at a living copy",
    DeadOnArrival "a delta is dead on arrival",
    LostWrite "a token names a write that is lost",
    SkewRefused "a delta from the future is refused",
    BatchResent "a batch is sent anew",
    RoundFailed "a comparison is given up",
    Evicted "a session is ended to make room",
    Expired "a session is forgotten for idleness",
    Retired "a session comes back that its holder had forgotten",
    ThreeLayouts "two transitions overlap",
    RemovedWithLoss "a removal is accepted with loss",
    LossNoticed "a node tells of lost slots",
    Fenced "an acknowledgement of a later epoch waits",
    Unsealed "a comparison does not count as catching up",
    NotOwner "a delta is refused because its receiver is no owner",
    GivenUp "a node gives up what it does not own any more",
    SealDuringWrite "a view is adopted while a write waits",
    JoinerCrashed "a joiner dies before it is synced",
    RotateCrashCreating "a host dies while a login makes the new session",
    RotateCrashEnding "a host dies while a login ends the old session",
    GenerationChange "membership is made anew",
    SurvivorsTogether "several survivors go on together",
    OtherGeneration "a message of another generation is dropped",
    Stranger "a message of a process that is not a member is dropped",
    Forwarded "edits are forwarded",
    ForwardRefused "forwarded edits are refused",
    ForwardRepeated "forwarded edits are sent again",
    ForwardTwice "forwarded edits arrive twice",
    RunningRemoved "a process that runs is removed",
    Drained "a node hands over everything and goes",
    Resized "the number of copies changes under load",
    LastSpeakerCrashed "a slot loses its last speaker to a crash",
    BudgetSpent "a repair request is deferred for the budget",
    DistantSilent "a distant peer does not answer",
}

impl Point {
    /// True if it cannot happen while the view is fixed, in which there are three nodes.
    #[must_use]
    pub const fn needs_agreed_views(self) -> bool {
        matches!(
            self,
            Self::ThreeLayouts
                | Self::RemovedWithLoss
                | Self::LossNoticed
                | Self::Fenced
                | Self::Unsealed
                | Self::NotOwner
                | Self::GivenUp
                | Self::SealDuringWrite
                | Self::GenerationChange
                | Self::SurvivorsTogether
                | Self::OtherGeneration
                | Self::RunningRemoved
                | Self::Drained
                | Self::Resized
                | Self::LastSpeakerCrashed
                | Self::BudgetSpent
                | Self::DistantSilent
        )
    }
}

/// The points that one run has met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage(u64);

impl Coverage {
    pub(crate) fn hit(&mut self, point: Point) {
        self.0 |= 1 << point as u64;
    }

    fn note(&mut self, count: u64, point: Point) {
        if count > 0 {
            self.hit(point);
        }
    }

    /// True if the run has met that point.
    #[must_use]
    pub const fn has(self, point: Point) -> bool {
        self.0 & (1 << point as u64) != 0
    }

    /// Takes in what a process has counted.
    pub(crate) fn take(&mut self, counters: &Counters) {
        self.note(counters.gaps, Point::NeedSent);
        self.note(counters.slots_degraded, Point::SlotDegraded);
        self.note(counters.slots_recovered, Point::SlotRecovered);
        self.note(counters.tombs_pushed, Point::TombPushed);
        self.note(counters.dead_on_arrival, Point::DeadOnArrival);
        self.note(counters.writes_lost, Point::LostWrite);
        self.note(counters.skew_refused, Point::SkewRefused);
        self.note(counters.batches_resent, Point::BatchResent);
        self.note(counters.rounds_failed, Point::RoundFailed);
        self.note(counters.evicted, Point::Evicted);
        self.note(counters.expired, Point::Expired);
        self.note(counters.losses_accepted, Point::LossNoticed);
        self.note(counters.fenced, Point::Fenced);
        self.note(counters.unsealed, Point::Unsealed);
        self.note(counters.not_owned, Point::NotOwner);
        self.note(counters.handed_over, Point::GivenUp);
        self.note(counters.forwarded, Point::Forwarded);
        self.note(counters.forwards_refused, Point::ForwardRefused);
        self.note(counters.forwards_repeated, Point::ForwardRepeated);
        self.note(counters.strangers, Point::Stranger);
    }
}

const _: () = assert!(Point::ALL.len() <= 64);
