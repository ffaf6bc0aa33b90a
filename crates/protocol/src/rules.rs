//! Switches that turn a single rule off, so that the simulator can show that it notices.
//!
//! Without the feature `mutants` there is nothing to switch: [`Rules`] has no size and every
//! question is answered at compile time.

/// A rule that can be switched off (issue of the mutation score).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(not(feature = "mutants"), allow(dead_code))]
#[allow(unreachable_pub)]
pub enum Rule {
    /// R3: a delta is merged only onto what it builds on.
    LoCheck,
    /// K1: a token is a version; switched off, a single highest stamp.
    VectorToken,
    /// T2: what is past its hard deadline is dead on arrival.
    DeadOnArrival,
    /// T3: a tombstone is kept until its deadline; switched off, for five seconds.
    TombstoneKept,
    /// T4: digests include tombstones.
    TombstonesInDigests,
    /// T5: whoever ships a living copy of an ended session is told.
    TombPushBack,
    /// H4: what comes from the future is refused.
    SkewNack,
    /// U: a fragment of an unknown session is not accepted as the session.
    UnknownSession,
    /// I-ACK: acknowledgements count once per node.
    DistinctAcks,
    /// B1: a session stays dirty until it is acknowledged.
    DirtyUntilAck,
    /// D4: a write to an ended session is refused.
    GoneAfterEnd,
    /// D2: nothing takes the place of a session that has ended.
    RotatedWhileAlive,
    /// B1: an acknowledgement names its batch; switched off, it confirms all earlier ones.
    AckNamesBatch,
    /// A1: the first addition leaves `since` alone.
    FirstAddition,
    /// A3: an edit carries what its author saw.
    EditsCarryAt,
    /// K2: every owner is asked before a token is given up.
    AskAll,
    /// E3: digests cover the last access.
    DigestLastAccess,
    /// E4: a session that was forgotten and came back is stamped by others.
    RetiredNotStamped,
    /// P3: what differs is asked for at once; switched off, not while its slot is written.
    NeedAtOnce,
    /// V2: an acknowledgement of a later epoch counts once that epoch is adopted.
    Fence,
    /// V3: only owners' acknowledgements count.
    OwnersOnly,
    /// V5: a level has to hold in each layout in force; switched off, in the newest.
    EachLayout,
    /// V5: the level `one` too.
    OneEachLayout,
    /// V6: who catches up counts only what was listed after its source had adopted the layout.
    Seal,
    /// V7: who catches up asks every earlier owner; switched off, one of them.
    SyncFromAll,
    /// V8: the last one that speaks for a slot is not removed unnoticed.
    LossGate,
    /// K3: what is lost is said to be lost.
    HonestLoss,
    /// N1: only who may speak says that there is no such session.
    OnlySpeakersDeny,
    /// V9: a slot is dropped only when its new owners are all there is.
    DropAfterFinish,
    /// V9: and when nobody lacks what was stamped here.
    DropWhenClean,
    /// F1: edits are sent to one process.
    OneExecutor,
    /// F1: edits that arrive again are recognised.
    EditsOnce,
    /// B4: repair is bounded.
    RepairBudget,
}

#[cfg(feature = "mutants")]
mod switched {
    use super::Rule;

    impl Rule {
        /// Those that storms notice within two thousand seeds, in the order of their declaration.
        /// [`Rule::RetiredNotStamped`] is not among them: what it prevents is so rare that a test
        /// of the state machine has to bring it about.
        pub const ALL: [Self; 32] = [
            Self::LoCheck,
            Self::VectorToken,
            Self::DeadOnArrival,
            Self::TombstoneKept,
            Self::TombstonesInDigests,
            Self::TombPushBack,
            Self::SkewNack,
            Self::UnknownSession,
            Self::DistinctAcks,
            Self::DirtyUntilAck,
            Self::GoneAfterEnd,
            Self::RotatedWhileAlive,
            Self::AckNamesBatch,
            Self::FirstAddition,
            Self::EditsCarryAt,
            Self::AskAll,
            Self::DigestLastAccess,
            Self::NeedAtOnce,
            Self::Fence,
            Self::OwnersOnly,
            Self::EachLayout,
            Self::OneEachLayout,
            Self::Seal,
            Self::SyncFromAll,
            Self::LossGate,
            Self::HonestLoss,
            Self::OnlySpeakersDeny,
            Self::DropAfterFinish,
            Self::DropWhenClean,
            Self::OneExecutor,
            Self::EditsOnce,
            Self::RepairBudget,
        ];
    }

    /// Which rule is off, if any.
    #[derive(Clone, Copy, Debug, Default, Hash)]
    pub struct Rules(Option<Rule>);

    impl Rules {
        /// All rules but `rule`.
        #[must_use]
        pub const fn without(rule: Rule) -> Self {
            Self(Some(rule))
        }

        pub(crate) fn off(self, rule: Rule) -> bool {
            self.0 == Some(rule)
        }
    }
}

#[cfg(not(feature = "mutants"))]
mod switched {
    use super::Rule;

    /// All rules hold; there is nothing to choose.
    #[derive(Clone, Copy, Debug, Default, Hash)]
    pub struct Rules(());

    impl Rules {
        #[expect(clippy::unused_self, reason = "the same face as with the feature")]
        pub(crate) const fn off(self, _rule: Rule) -> bool {
            false
        }
    }
}

pub use switched::Rules;
