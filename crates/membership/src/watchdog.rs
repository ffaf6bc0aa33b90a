//! Four things that openraft 0.9 does not do by itself. Pure; the supervisor looks and obeys.
//!
//! A voter draws its election timeout once, so two may collide again and again: who sees no leader
//! for long stands for election at a moment of its own. And a leader that has lost its majority
//! would go on to renew the lease of the followers it still reaches, which then vote for nobody: it
//! has to fall silent, and takes no decisions meanwhile. And a voter that was replaced while it was
//! away is told nothing by its own Raft, and would stand for election for ever. And openraft stands
//! still while it writes: a leader whose disk is slow goes on to say that it leads when another has
//! taken over, and a candidate that takes seconds to write down its own vote comes back with a term
//! that deposes whoever was elected meanwhile. So the one leads no more, and the other lets those
//! with faster disks go first.

use crate::settings::Settings;

/// What a voter knows of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    pub(crate) is_leader: bool,
    /// Somebody leads, as far as it knows.
    pub(crate) has_leader: bool,
    /// It is a voter, of so many.
    pub(crate) is_voter: bool,
    pub(crate) voters: usize,
    /// It votes no more, as others know of a later moment than its own Raft does.
    pub(crate) is_replaced: bool,
    /// For a leader: since when a majority has not answered, if one ever has. Like all that is
    /// above, as of when Raft has last said anything.
    pub(crate) quorum_ack_ms: Option<u64>,
    /// Since when Raft has said nothing: it stands still while it writes.
    pub(crate) quiet_ms: u64,
    /// How long its last write took, or the present one has if that is longer.
    pub(crate) write_ms: u64,
}

/// What it is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Orders {
    /// To stand for election now.
    pub(crate) elect: bool,
    /// To be silent as a leader.
    pub(crate) mute: bool,
    /// Never to stand for election, for now. It goes on to vote for others.
    pub(crate) stand_down: bool,
    /// To let others stand for election before it: its disk is slow.
    pub(crate) hold_back: bool,
}

/// What it remembers from one look to the next.
#[derive(Debug)]
pub(crate) struct Watchdog {
    patience_ms: u64,
    /// Since when there is no leader, and how much longer than its patience this voter waits.
    leaderless: Option<(u64, u64)>,
    /// Since when this voter leads.
    leading: Option<u64>,
}

impl Watchdog {
    pub(crate) const fn new(settings: &Settings) -> Self {
        Self { patience_ms: settings.election_ms_max, leaderless: None, leading: None }
    }

    /// `chance` draws a number below its argument.
    pub(crate) fn look(
        &mut self,
        sight: Sight,
        now_ms: u64,
        chance: impl FnOnce(u64) -> u64,
    ) -> Orders {
        self.leading = sight.is_leader.then(|| self.leading.unwrap_or(now_ms));
        let silent_ms = self.leading.map_or(0, |since| {
            let unheard_ms = sight.quorum_ack_ms.unwrap_or(u64::MAX);
            let unheard_ms = unheard_ms.saturating_add(sight.quiet_ms);
            unheard_ms.min(now_ms.saturating_sub(since))
        });
        let mute = sight.voters > 1 && silent_ms > 2 * self.patience_ms;
        let elect = self.is_time_to_elect(sight, now_ms, chance);
        let hold_back = sight.write_ms > self.patience_ms;
        Orders { elect, mute, stand_down: sight.is_replaced, hold_back }
    }

    fn is_time_to_elect(
        &mut self,
        sight: Sight,
        now_ms: u64,
        chance: impl FnOnce(u64) -> u64,
    ) -> bool {
        if sight.has_leader || !sight.is_voter || sight.is_replaced {
            self.leaderless = None;
            return false;
        }
        let (since, delay) =
            *self.leaderless.get_or_insert_with(|| (now_ms, chance(self.patience_ms)));
        let is_time = now_ms.saturating_sub(since) > 3 * self.patience_ms + delay;
        if is_time {
            self.leaderless = None;
        }
        is_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOLLOWER: Sight = Sight {
        is_leader: false,
        has_leader: true,
        is_voter: true,
        voters: 3,
        is_replaced: false,
        quorum_ack_ms: None,
        quiet_ms: 0,
        write_ms: 0,
    };

    fn watchdog() -> Watchdog {
        Watchdog::new(&Settings { election_ms_max: 100, ..Settings::default() })
    }

    #[test]
    fn without_a_leader_for_long_a_voter_stands_for_election() {
        let mut dog = watchdog();
        let lost = Sight { has_leader: false, ..FOLLOWER };
        let mut elect = |sight, now| dog.look(sight, now, |_| 50).elect;
        assert!(!elect(lost, 1_000));
        assert!(!elect(lost, 1_350));
        assert!(!elect(FOLLOWER, 1_351), "there is one");
        assert!(!elect(lost, 1_352) && !elect(lost, 1_702));
        assert!(elect(lost, 1_703));
        assert!(!elect(lost, 1_704), "and then it waits anew");
        let learner = Sight { is_voter: false, ..lost };
        assert!(!elect(learner, 9_000));
    }

    #[test]
    fn a_voter_that_was_replaced_does_not_stand_until_it_votes_again() {
        let mut dog = watchdog();
        let lost = Sight { has_leader: false, ..FOLLOWER };
        let replaced = Sight { is_replaced: true, ..lost };
        let mut look = |sight, now| dog.look(sight, now, |_| 50);
        assert!(look(replaced, 1_000).stand_down && !look(replaced, 9_000).elect);
        assert!(!look(lost, 9_001).stand_down && !look(lost, 9_002).elect, "it waits anew");
        assert!(look(lost, 9_352).elect);
    }

    #[test]
    fn a_voter_with_a_slow_disk_lets_others_go_first_and_stands_when_nobody_does() {
        let mut dog = watchdog();
        let lost = Sight { has_leader: false, ..FOLLOWER };
        let mut look = |write_ms, now| dog.look(Sight { write_ms, ..lost }, now, |_| 50);
        assert!(!look(100, 1_000).hold_back);
        assert!(look(101, 1_001).hold_back && !look(101, 1_350).elect);
        let last = look(101, 1_351);
        assert!(last.hold_back && last.elect && !last.stand_down);
        assert!(!look(5, 1_352).hold_back);
    }

    #[test]
    fn a_leader_whose_raft_stands_still_does_not_know_that_it_leads() {
        let mut dog = watchdog();
        let leader = Sight { is_leader: true, quorum_ack_ms: Some(50), ..FOLLOWER };
        let mut mute = |quiet_ms, now| dog.look(Sight { quiet_ms, ..leader }, now, |_| 0).mute;
        assert!(!mute(0, 1_000) && !mute(150, 2_000));
        assert!(mute(151, 2_001));
        assert!(!mute(0, 2_100));
    }

    #[test]
    fn a_leader_without_a_majority_is_silent_until_it_has_one() {
        let mut dog = watchdog();
        let leader = |quorum_ack_ms| Sight { is_leader: true, quorum_ack_ms, ..FOLLOWER };
        let mut mute = |sight, now| dog.look(sight, now, |_| 0).mute;
        assert!(!mute(leader(None), 1_000), "it has just begun");
        assert!(!mute(leader(None), 1_200));
        assert!(mute(leader(None), 1_201), "and nobody ever answers");
        assert!(!mute(leader(Some(200)), 2_000));
        assert!(mute(leader(Some(201)), 2_000));
        assert!(!mute(FOLLOWER, 2_100));
        assert!(!mute(leader(Some(5_000)), 2_101), "of an earlier time as leader");
        let alone = Sight { voters: 1, ..leader(None) };
        assert!(!mute(alone, 9_000), "it is the majority");
    }
}
