//! A Raft directory that is made over for a new group: after the majority of the voters is lost for
//! good, that of the survivor who begins anew, and those of the others. What happens is one commit:
//! whenever the process ends, the directory is the old group's or the new one's. Decision 018.

use std::collections::{BTreeMap, BTreeSet};

use openraft::{CommittedLeaderId, EntryPayload, Membership};
use protocol::{Decision, Refused, Roster, Rules, View};
use session::Inc;

use super::{
    COMMITTED, IDENTITY, Identity, PURGED, SNAPSHOT, Snapshot, Store, StoreError, Tables, VOTE,
    draw,
};
use crate::bootstrap::Standing;
use crate::raft_types::{
    Group, LogId, Membership as StoredMembership, Place, RaftId, SnapshotMeta, Vote,
};

/// So many decisions the lost majority may have made that the survivor does not know of, in entries
/// of the log. Their indexes are not used again, because they may be the numbers of processes that
/// have stamped sessions. A membership event makes about ten, so this is a hundred thousand of them.
const UNKNOWN_ENTRIES_MAX: u64 = 1 << 20;

/// The term that the log of a new group begins with.
const FIRST_TERM: u64 = 1;

/// Why a survivor did not begin anew.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RecoverError {
    /// Neither the directory nor the view that was followed knows of a cluster. Recover on another
    /// survivor, or found a new cluster.
    #[error("this node knows of no cluster that could be recovered; recover on another survivor")]
    Nothing,
    /// The survivors that were named are not members. Name some of the members.
    #[error("the survivors are not all members, or none is named: {0}")]
    Refused(Refused),
    /// The disk has failed. The directory is as it was, or made over already: open it again and
    /// look at its identity.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Makes this the directory of a new group with this node as its only voter, which carries on
    /// with all that is known here: what the directory's log has agreed on, or, if that is later,
    /// `known`, the view that the node follows. Of its members only the `survivors` stay, with their
    /// numbers and what they hold; the generation grows by one. [`crate::Voter::start`] on it then
    /// leads alone. Nobody may run on the directory meanwhile.
    ///
    /// To be called on one node, because an operator says that the majority is lost for good: two
    /// nodes that begin anew are two clusters. A survivor may be any member; if none of the
    /// processes lives any more, a former one of this node, which the next one takes the place of.
    ///
    /// # Errors
    /// [`RecoverError`] says what to do.
    pub fn recover(
        &self,
        place: &Place,
        known: &View,
        slots: u16,
        survivors: &BTreeSet<Inc>,
    ) -> Result<Group, RecoverError> {
        let mut roster = self.latest_roster(known, slots)?;
        let generation = self.generation().max(roster.view().generation) + 1;
        let raft_id = draw()?;
        let group = Group { generation, founder: raft_id };
        let index = self.last_index()?.max(roster.view().epoch).max(known.epoch);
        let index = index.saturating_add(UNKNOWN_ENTRIES_MAX);
        let decision = Decision::Recover { generation, survivors: survivors.clone() };
        roster.apply(index, &decision).map_err(RecoverError::Refused)?;
        let last = LogId { leader_id: CommittedLeaderId::new(FIRST_TERM, raft_id), index };
        let nodes = BTreeMap::from([(raft_id, place.clone())]);
        let alone = Membership::new(vec![[raft_id].into()], nodes);
        let meta = SnapshotMeta {
            last_log_id: Some(last),
            last_membership: StoredMembership::new(Some(last), alone),
            snapshot_id: last.to_string(),
        };
        self.make_over(group, raft_id, |tables| {
            tables.put(SNAPSHOT, &Snapshot { meta, roster })?;
            tables.put(PURGED, &last)?;
            tables.put(COMMITTED, &Some(last))?;
            tables.put(VOTE, &Vote::new(FIRST_TERM, raft_id))
        })?;
        Ok(group)
    }

    /// Makes this the empty directory of another voter, in that group: for a process that goes on
    /// into it as a survivor, and whose directory is of the generation before. The voter that it was
    /// is gone for good. Nobody may run on the directory meanwhile.
    ///
    /// # Errors
    /// The disk has failed; the directory is as it was, or made over already.
    pub fn enter(&self, group: Group) -> Result<(), StoreError> {
        self.make_over(group, draw()?, |_| Ok(()))
    }

    fn make_over(
        &self,
        group: Group,
        raft_id: RaftId,
        fill: impl FnOnce(&mut Tables<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.retire_runs();
        let cluster = self.identity().cluster;
        let identity = Identity { cluster, raft_id, standing: Standing::Inside(group) };
        self.write(|tables| {
            tables.clear()?;
            tables.put(IDENTITY, &identity)?;
            fill(tables)
        })?;
        *self.shared.identity.lock() = identity;
        Ok(())
    }

    /// The generation of the group that this directory belongs to, 0 if it is outside.
    fn generation(&self) -> u64 {
        self.identity().standing.group().map_or(0, |group| group.generation)
    }

    /// What is known to have been agreed on, of the two sources the later. The log may hold more,
    /// which nobody here knows to be agreed.
    fn latest_roster(&self, known: &View, slots: u16) -> Result<Roster, RecoverError> {
        let snapshot = self.snapshot()?;
        let applied = snapshot.as_ref().and_then(|kept| kept.meta.last_log_id);
        let begin = || Roster::new(slots, Rules::default());
        let mut roster = snapshot.map_or_else(begin, |kept| kept.roster);
        if let Some(committed) = self.committed()? {
            let first = applied.map_or(0, |applied| applied.index.saturating_add(1));
            for entry in self.entries(first..=committed.index.max(first))? {
                let is_agreed = entry.log_id.index <= committed.index;
                if let (EntryPayload::Normal(decision), true) = (&entry.payload, is_agreed) {
                    // What was refused is refused again, and changes nothing.
                    let _ = roster.apply(entry.log_id.index, decision);
                }
            }
        }
        let number = |view: &View| (view.generation, view.epoch);
        if number(known) > number(roster.view()) {
            roster = Roster::of_view(known.clone(), slots, Rules::default());
        }
        if roster.view().is_fixed() { Err(RecoverError::Nothing) } else { Ok(roster) }
    }

    /// The highest index that this directory has ever heard of.
    fn last_index(&self) -> Result<u64, StoreError> {
        let entry = self.last_entry()?.map(|entry| entry.log_id);
        let snapshot = self.snapshot()?.and_then(|kept| kept.meta.last_log_id);
        let known = [entry, snapshot, self.purged()?, self.committed()?];
        Ok(known.into_iter().flatten().map(|log_id| log_id.index).max().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use protocol::{Copies, Decision, Zone};

    use super::*;
    use crate::store::crash_tests::{Answered, log_id, open};
    use crate::store::memory_disk::{Fate, MemoryDisk};

    const SLOTS: u16 = 16;

    fn place() -> Place {
        Place { name: "n1".into(), zone: Zone::default() }
    }

    fn decisions() -> Vec<Decision> {
        let copies = Copies::Count(NonZeroU16::MIN);
        let join = |name: &str| Decision::Join {
            name: name.into(),
            address: "".into(),
            zone: Zone::default(),
            start: 1,
            version: protocol::wire::WIRE_VERSION,
        };
        let begin =
            Decision::Begin { generation: 1, copies, protocol: protocol::wire::WIRE_VERSION };
        vec![begin, join("n1"), join("n2"), join("n3"), join("n4")]
    }

    fn entry(index: u64) -> crate::raft_types::Entry {
        let decision = decisions()[index as usize - 1].clone();
        let payload = EntryPayload::Normal(decision);
        crate::raft_types::Entry { log_id: log_id(1, index), payload }
    }

    /// The view after so many decisions.
    fn view(decided: usize) -> View {
        let mut roster = Roster::new(SLOTS, Rules::default());
        for (decision, index) in decisions().iter().take(decided).zip(1..) {
            roster.apply(index, decision).unwrap();
        }
        roster.view().clone()
    }

    /// A voter that has five entries, and knows that four are agreed on.
    fn survivor(disk: &MemoryDisk) -> Store {
        let store = open(disk).unwrap();
        let group = Group { generation: 1, founder: RaftId(7) };
        store.write_standing(Standing::Inside(group)).unwrap();
        store.append(&[crate::store::crash_tests::entry(0, 0)]).unwrap();
        store.write_vote(&Vote::new_committed(1, RaftId(7))).unwrap();
        store.append(&(1..=5).map(entry).collect::<Vec<_>>()).unwrap();
        store.write_committed(Some(&log_id(1, 4))).unwrap();
        store
    }

    fn incs(incs: &[u64]) -> BTreeSet<Inc> {
        incs.iter().map(|inc| Inc(*inc)).collect()
    }

    /// What the directory knows of members.
    fn kept(store: &Store) -> View {
        store.snapshot().unwrap().unwrap().roster.view().clone()
    }

    #[test]
    fn a_survivor_goes_on_with_what_it_knows_to_be_agreed() {
        let store = survivor(&MemoryDisk::new(0));
        let before = store.identity();
        let group = store.recover(&place(), &View::fixed([], Copies::All), SLOTS, &incs(&[2, 3]));
        let group = group.unwrap();
        let identity = store.identity();
        assert_ne!(identity.raft_id, before.raft_id);
        assert_eq!(group, Group { generation: 2, founder: identity.raft_id });
        assert_eq!(identity.standing, Standing::Inside(group));
        let view = kept(&store);
        assert_eq!((view.generation, view.members.len()), (2, 2));
        assert!(view.contains(Inc(2)) && view.contains(Inc(3)));
        assert!(view.epoch > 5, "beyond all that it has heard of");
        assert!(store.entries(..).unwrap().is_empty());
    }

    #[test]
    fn bound_unknown_entries() {
        let store = survivor(&MemoryDisk::new(0));
        let follows = View { epoch: 70, ..view(3) };
        store.recover(&place(), &follows, SLOTS, &incs(&[2])).unwrap();
        assert_eq!(kept(&store).epoch, 70 + UNKNOWN_ENTRIES_MAX);
        let next = store.recover(&place(), &view(3), SLOTS, &incs(&[2])).unwrap();
        assert_eq!(next.generation, 3, "and again");
        assert_eq!(kept(&store).epoch, 70 + 2 * UNKNOWN_ENTRIES_MAX);
    }

    #[test]
    fn a_view_that_is_later_than_the_log_is_gone_by() {
        let follows = view(5);
        for (store, what) in [
            (survivor(&MemoryDisk::new(0)), "a voter that lags"),
            (open(&MemoryDisk::new(0)).unwrap(), "a node that never voted"),
        ] {
            let group = store.recover(&place(), &follows, SLOTS, &incs(&[5])).unwrap();
            assert_eq!(group.generation, 2, "{what}");
            assert!(kept(&store).contains(Inc(5)), "{what}");
        }
    }

    #[test]
    fn nothing_is_written_if_nothing_can_be_recovered() {
        let fixed = View::fixed(["n1".into()], Copies::All);
        let store = open(&MemoryDisk::new(0)).unwrap();
        let nothing = store.recover(&place(), &fixed, SLOTS, &incs(&[1]));
        assert!(matches!(nothing, Err(RecoverError::Nothing)));
        let store = survivor(&MemoryDisk::new(0));
        let before = (store.identity(), Answered::of(&store));
        for survivors in [&[][..], &[2, 5], &[99]] {
            let refused = store.recover(&place(), &fixed, SLOTS, &incs(survivors));
            assert!(matches!(refused, Err(RecoverError::Refused(_))), "{survivors:?}");
        }
        assert_eq!((store.identity(), Answered::of(&store)), before);
    }

    #[test]
    fn a_directory_that_enters_a_group_is_empty_and_another_voter() {
        let store = survivor(&MemoryDisk::new(0));
        let (run, before) = (store.for_one_run(), store.identity());
        let group = Group { generation: 2, founder: RaftId(9) };
        store.enter(group).unwrap();
        assert_ne!(store.identity().raft_id, before.raft_id);
        assert_eq!(store.identity().standing, Standing::Inside(group));
        let empty = open(&MemoryDisk::new(0)).unwrap();
        empty.write_standing(Standing::Inside(group)).unwrap();
        assert_eq!(Answered::of(&store), Answered::of(&empty));
        let late = run.write_vote(&Vote::new(9, before.raft_id));
        assert!(matches!(late, Err(StoreError::Closed)), "of the voter that it was");
    }

    /// At each write that making over takes, the process ends.
    #[test]
    fn a_crash_leaves_the_old_directory_or_the_new_one() {
        let acts: [fn(&Store) -> bool; 2] = [
            |store| store.recover(&place(), &view(4), SLOTS, &incs(&[2])).is_ok(),
            |store| store.enter(Group { generation: 2, founder: RaftId(9) }).is_ok(),
        ];
        for act in acts {
            let (mut old, mut new) = (0, 0);
            for seed in 0..6 {
                for survived in 0.. {
                    let disk = MemoryDisk::new(seed * 1_000 + survived);
                    let store = survivor(&disk);
                    let before = (store.identity(), Answered::of(&store));
                    disk.set_fate(Fate::DeadAfter(survived));
                    let is_done = act(&store);
                    let spared = disk.fate() != Fate::DeadAfter(0);
                    drop(store);
                    disk.crash();
                    let store = open(&disk).unwrap_or_else(|error| panic!("{survived}: {error}"));
                    if (store.identity(), Answered::of(&store)) == before {
                        assert!(!is_done, "it was said to be done");
                        old += 1;
                    } else {
                        let Standing::Inside(group) = store.identity().standing else { panic!() };
                        assert_eq!(group.generation, 2);
                        assert!(store.entries(..).unwrap().is_empty());
                        assert_ne!(store.identity().raft_id, before.0.raft_id);
                        new += 1;
                    }
                    if spared {
                        break;
                    }
                }
            }
            assert!(old > 6 && new > 6, "{old} old, {new} new");
        }
    }
}
