//! What this shard holds: sessions and tombstones by slot, and everything derived from them.

mod slots;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use session::{
    Body, Change, Clock, Delta, Hlc, SKEW_MS_MAX, Session, SessionKey, Slot, State, Time,
    Tombstone, Version,
};

use crate::digest::{self, Digest};
use crate::rules::{Rule, Rules};

/// What became of a delta.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is included now, and what that changed.
    Merged(Effect),
    /// It builds on what this copy lacks; this is what it has. Nothing changed.
    Need(Version),
    /// The session ended here. Nothing changed.
    Ended(Tombstone),
    /// It comes from the future. Nothing changed.
    Skew,
    /// The life of its session is over. Nothing changed.
    Dead,
}

/// What a merged delta changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: it was included before.
    None,
    /// A session that was not held is held now.
    Created,
    /// A session has more in it.
    Updated,
    /// A session, held before or not, has ended.
    Ended,
}

/// What a sweep did away with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Living sessions that were idle too long or past their hard deadline.
    pub expired: Vec<SessionKey>,
    /// Tombstones past their time.
    pub tombstones: usize,
}

/// Some of the living sessions, and where to go on.
pub(crate) struct Walk<'a> {
    pub(crate) sessions: Vec<(SessionKey, &'a Session)>,
    pub(crate) next: Option<(Time, SessionKey)>,
}

/// What a tombstone is counted as, in bytes: key, deadline, reason and their places in the maps.
const TOMBSTONE_BYTES: usize = 96;

#[derive(Clone, Hash)]
struct Entry {
    state: State,
    hash: Digest,
    bytes: usize,
    /// True if this process may have held, written and forgotten the session before.
    retired: bool,
}

#[derive(Clone, Default, Hash)]
struct Slotful {
    entries: BTreeMap<SessionKey, Entry>,
    digest: Digest,
    /// The latest creation among its sessions that were forgotten.
    forgotten: Hlc,
}

/// The sessions of one shard.
///
/// [`apply`](Self::apply) is the only way anything comes in or changes, [`sweep`](Self::sweep) the
/// only way anything goes. Invariants: a slot's digest is the sum of its entries' hashes, `root`
/// that of the slots'; every entry stands in `due`, at or before the moment it matters (one that
/// ended twice, for what it was before).
#[derive(Clone, Hash)]
pub struct Store {
    first_slot: u16,
    seed: u64,
    rules: Rules,
    slots: Vec<Slotful>,
    root: Digest,
    due: BTreeSet<(Time, SessionKey)>,
    bytes: usize,
    sessions: usize,
    tombstones: usize,
    /// Keys that changed, for whoever asked to be told.
    journal: Option<Vec<SessionKey>>,
}

impl Store {
    /// An empty store for `slot_count` slots from `first_slot` on. Digests of stores with another
    /// `seed` cannot be compared.
    #[must_use]
    pub fn new(first_slot: u16, slot_count: u16, seed: u64, rules: Rules) -> Self {
        Self {
            first_slot,
            seed,
            rules,
            slots: (0..slot_count).map(|_| Slotful::default()).collect(),
            root: Digest::default(),
            due: BTreeSet::new(),
            bytes: 0,
            sessions: 0,
            tombstones: 0,
            journal: None,
        }
    }

    /// Keeps a journal of the keys that change from now on. Whoever asks for it drains it.
    pub fn keep_journal(&mut self) {
        self.journal = Some(Vec::new());
    }

    /// The keys that changed since the last call, in order, with repetitions.
    pub fn drain_journal(&mut self) -> Vec<SessionKey> {
        self.journal.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// True if `slot` is one of this shard's.
    #[must_use]
    pub fn holds(&self, slot: Slot) -> bool {
        self.index(slot).is_some()
    }

    fn index(&self, slot: Slot) -> Option<usize> {
        let index = usize::from(slot.number().checked_sub(self.first_slot)?);
        (index < self.slots.len()).then_some(index)
    }

    /// What is held under `key`.
    #[must_use]
    pub fn get(&self, key: SessionKey) -> Option<&State> {
        let slot = &self.slots[self.index(key.slot())?];
        slot.entries.get(&key).map(|entry| &entry.state)
    }

    /// The living session under `key`.
    #[must_use]
    pub fn session(&self, key: SessionKey) -> Option<&Session> {
        match self.get(key)? {
            State::Alive(session) => Some(session),
            State::Ended(_) => None,
        }
    }

    /// True if this process must not stamp the session, because it may have stamped and forgotten
    /// it before: it came back from a peer that knew of a later access, perhaps without what was
    /// stamped here, and the next stamp would claim to include that (I-COV).
    // Rule E4.
    #[must_use]
    pub fn is_retired(&self, key: SessionKey) -> bool {
        let entry = self.index(key.slot()).and_then(|index| self.slots[index].entries.get(&key));
        entry.is_some_and(|entry| entry.retired) && !self.rules.off(Rule::RetiredNotStamped)
    }

    /// What this process stamped and forgot, every owner has given back as far as it still
    /// exists: it may stamp the session again.
    // Rule E4.
    pub(crate) fn readmit(&mut self, key: SessionKey) {
        let Some(index) = self.index(key.slot()) else { return };
        if let Some(entry) = self.slots[index].entries.get_mut(&key) {
            entry.retired = false;
        }
    }

    /// The version held under `key`; empty if nothing is, or a tombstone.
    #[must_use]
    pub fn version(&self, key: SessionKey) -> Version {
        self.session(key).map(|session| session.version.clone()).unwrap_or_default()
    }

    /// Takes a delta, from wherever it comes, or says why not. The only mutator.
    ///
    /// What follows from a change, all of it in `put`: the slot's digest and the root; the entry's
    /// place in `due`; the counts of bytes, sessions and tombstones.
    // Rules R3, U, T2, H4.
    pub fn apply(&mut self, delta: Delta, now: Time) -> Verdict {
        let Some(index) = self.index(delta.key.slot()) else {
            return Verdict::Dead;
        };
        match delta.body {
            Body::End(tombstone) => self.end(index, delta.key, tombstone, now),
            Body::Change(change) => self.change(index, delta.key, change, now),
        }
    }

    /// Puts a living session in the place of a tombstone, which no rule allows.
    #[cfg(feature = "mutants")]
    pub(crate) fn replace(&mut self, delta: Delta, now: Time) {
        if let (Some(index), Body::Change(change)) = (self.index(delta.key.slot()), delta.body)
            && let Some(session) = change.into_session()
        {
            self.put(index, delta.key, State::Alive(Box::new(session)), now);
        }
    }

    fn end(&mut self, index: usize, key: SessionKey, end: Tombstone, now: Time) -> Verdict {
        if now > end.deadline && !self.rules.off(Rule::DeadOnArrival) {
            return Verdict::Dead;
        }
        let merged = match self.slots[index].entries.get(&key).map(|entry| &entry.state) {
            Some(State::Ended(held)) if held.join(end) == *held => {
                return Verdict::Merged(Effect::None);
            }
            Some(State::Ended(held)) => {
                let held = *held;
                self.due.remove(&(self.keep_until(held, now), key));
                held.join(end)
            }
            Some(State::Alive(session)) => {
                Tombstone { deadline: end.deadline.max(session.core.hard_deadline), ..end }
            }
            None => end,
        };
        self.put(index, key, State::Ended(merged), now);
        Verdict::Merged(Effect::Ended)
    }

    fn change(&mut self, index: usize, key: SessionKey, change: Change, now: Time) -> Verdict {
        if Clock::is_skewed(change.newest(), now) && !self.rules.off(Rule::SkewNack) {
            return Verdict::Skew;
        }
        let session = match self.slots[index].entries.get(&key).map(|entry| &entry.state) {
            None => return self.create(index, key, change, now),
            Some(State::Ended(tombstone)) => return Verdict::Ended(*tombstone),
            Some(State::Alive(session)) => session,
        };
        if session.is_dead(now) && !self.rules.off(Rule::DeadOnArrival) {
            return Verdict::Dead;
        }
        if let Some(core) = change.core.as_ref().filter(|core| **core != session.core) {
            let tombstone = session.conflict_with(core);
            self.put(index, key, State::Ended(tombstone), now);
            return Verdict::Merged(Effect::Ended);
        }
        if !session.version.covers_all(&change.lo) && !self.rules.off(Rule::LoCheck) {
            return Verdict::Need(session.version.clone());
        }
        if session.last_access >= change.last_access && session.version.covers_all(&change.hi) {
            return Verdict::Merged(Effect::None);
        }
        self.update(index, key, &change);
        Verdict::Merged(Effect::Updated)
    }

    /// Rule U: only a whole session makes an unknown one known.
    fn create(&mut self, index: usize, key: SessionKey, change: Change, now: Time) -> Verdict {
        let Some(session) = change.into_session() else {
            return if self.rules.off(Rule::UnknownSession) {
                Verdict::Merged(Effect::None)
            } else {
                Verdict::Need(Version::new())
            };
        };
        let over = session.is_dead(now) || now > session.purge_after();
        if over && !self.rules.off(Rule::DeadOnArrival) {
            return Verdict::Dead;
        }
        self.put(index, key, State::Alive(Box::new(session)), now);
        Verdict::Merged(Effect::Created)
    }

    /// Merges a change into a living session, and what follows from it.
    fn update(&mut self, index: usize, key: SessionKey, change: &Change) {
        let slot = &mut self.slots[index];
        let Some(entry) = slot.entries.get_mut(&key) else {
            return;
        };
        let State::Alive(session) = &mut entry.state else {
            return;
        };
        session.merge_unchecked(change);
        let (old, bytes) = (entry.hash, entry.bytes);
        entry.bytes = session.size_bytes();
        entry.hash = digest::of_state(self.seed, self.rules, key, &entry.state);
        let change = old.toggle(entry.hash);
        slot.digest = slot.digest.toggle(change);
        self.root = self.root.toggle(change);
        self.bytes = self.bytes + entry.bytes - bytes;
        self.journal.iter_mut().for_each(|journal| journal.push(key));
    }

    /// Puts a state in the place of whatever was there, and what follows from it.
    fn put(&mut self, index: usize, key: SessionKey, state: State, now: Time) {
        self.take(index, key);
        let (bytes, due) = match &state {
            State::Alive(session) => {
                self.sessions += 1;
                (session.size_bytes(), session.purge_after())
            }
            State::Ended(tombstone) => {
                self.tombstones += 1;
                (TOMBSTONE_BYTES, self.keep_until(*tombstone, now))
            }
        };
        let retired = match &state {
            State::Alive(session) => session.core.created.hlc <= self.slots[index].forgotten,
            State::Ended(_) => false,
        };
        self.due.insert((due, key));
        self.bytes += bytes;
        let hash = digest::of_state(self.seed, self.rules, key, &state);
        self.root = self.root.toggle(hash);
        let slot = &mut self.slots[index];
        slot.digest = slot.digest.toggle(hash);
        slot.entries.insert(key, Entry { state, hash, bytes, retired });
        self.journal.iter_mut().for_each(|journal| journal.push(key));
    }

    /// Takes an entry out of everything derived from it. Its place in `due` is left to the sweep.
    fn take(&mut self, index: usize, key: SessionKey) {
        let slot = &mut self.slots[index];
        let Some(entry) = slot.entries.remove(&key) else {
            return;
        };
        slot.digest = slot.digest.toggle(entry.hash);
        self.root = self.root.toggle(entry.hash);
        self.bytes -= entry.bytes;
        match entry.state {
            State::Alive(_) => self.sessions -= 1,
            State::Ended(_) => self.tombstones -= 1,
        }
    }

    /// Rule T3: whoever could still hold the session alive finds the tombstone, whatever its clock.
    fn keep_until(&self, tombstone: Tombstone, now: Time) -> Time {
        if self.rules.off(Rule::TombstoneKept) {
            return now.plus(5_000);
        }
        tombstone.deadline.plus(2 * SKEW_MS_MAX)
    }

    /// Forgets what is over: sessions idle too long by their own data, and tombstones past their
    /// deadline; at most `max` entries are looked at.
    // Rules T3, E2.
    pub fn sweep(&mut self, now: Time, max: usize) -> Swept {
        let mut swept = Swept::default();
        for _ in 0..max {
            let Some(&(due, key)) = self.due.first() else {
                break;
            };
            if due >= now {
                break;
            }
            self.due.pop_first();
            let Some(index) = self.index(key.slot()) else {
                continue;
            };
            let next = match self.get(key) {
                None => continue,
                Some(State::Alive(session)) => session.purge_after(),
                Some(State::Ended(_)) if self.rules.off(Rule::TombstoneKept) => due,
                Some(State::Ended(tombstone)) => self.keep_until(*tombstone, now),
            };
            if next >= now {
                self.due.insert((next, key));
                continue;
            }
            let created = self.session(key).map(|session| session.core.created.hlc);
            if let Some(created) = created {
                let forgotten = &mut self.slots[index].forgotten;
                *forgotten = created.max(*forgotten);
                swept.expired.push(key);
            } else {
                swept.tombstones += 1;
            }
            self.journal.iter_mut().for_each(|journal| journal.push(key));
            self.take(index, key);
        }
        swept
    }

    /// Up to `max` entries after `after` in the order in which they are due, which is about that
    /// of their last use; at the end it begins again. For walks that never look at everything.
    pub(crate) fn walk(&self, after: Option<(Time, SessionKey)>, max: usize) -> Walk<'_> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let seen: Vec<_> = self.due.range((from, Bound::Unbounded)).take(max).copied().collect();
        let next = seen.last().copied().filter(|_| seen.len() == max);
        let living = |key: SessionKey| Some((key, self.session(key)?));
        Walk { sessions: seen.into_iter().filter_map(|(_, key)| living(key)).collect(), next }
    }

    /// The short hash of what is held under `key`.
    #[must_use]
    pub fn short_hash(&self, key: SessionKey) -> Option<u64> {
        let slot = &self.slots[self.index(key.slot())?];
        slot.entries.get(&key).map(|entry| entry.hash.short())
    }

    /// What a copy at `lo` lacks of the session under `key`; `None` if nothing is held.
    #[must_use]
    pub fn extract(&self, key: SessionKey, lo: &Version) -> Option<Delta> {
        Some(match self.get(key)? {
            State::Alive(session) => session.extract(key, lo),
            State::Ended(tombstone) => Delta { key, body: Body::End(*tombstone) },
        })
    }

    /// Bytes of all sessions and tombstones held.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Living sessions held.
    #[must_use]
    pub const fn sessions(&self) -> usize {
        self.sessions
    }

    /// Tombstones held.
    #[must_use]
    pub const fn tombstones(&self) -> usize {
        self.tombstones
    }

    /// Everything held, in order of the keys; for checkers.
    pub fn iter(&self) -> impl Iterator<Item = (SessionKey, &State)> {
        self.slots
            .iter()
            .flat_map(|slot| slot.entries.iter().map(|(key, entry)| (*key, &entry.state)))
    }

    /// The root computed from scratch; equal to [`root`](Self::root) (I-DIGEST).
    #[must_use]
    pub fn recomputed_root(&self) -> Digest {
        self.iter().fold(Digest::default(), |root, (key, state)| {
            root.toggle(digest::of_state(self.seed, self.rules, key, state))
        })
    }
}

/// True if the delta could come from a correct peer (rule V10): its parts fit each other, and no
/// deadline lies beyond what a session may live.
pub(crate) fn is_well_formed(delta: &Delta, now: Time) -> bool {
    match &delta.body {
        Body::Change(change) => change.is_well_formed(),
        Body::End(tombstone) => tombstone.is_well_formed(now),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use session::{Clock, EndReason, Inc};

    use super::*;
    use crate::fixtures::{NOW, key, session, store, whole, written};
    use crate::limits::{LIST_KEYS_MAX, SWEEP_PER_TICK_MAX};

    fn end(deadline: Time) -> Body {
        Body::End(Tombstone { deadline, reason: EndReason::Logout })
    }

    /// Tests rules R3 and U: what a delta builds on decides, and nothing else changes.
    #[test]
    fn a_delta_is_merged_only_onto_what_it_builds_on() {
        let (old, new) = (session(1, NOW), written(session(1, NOW), 1, NOW, 5));
        let newer = written(new.clone(), 2, NOW, 5);
        let (fragment, gap) =
            (new.extract(key(0, 0), &old.version), newer.extract(key(0, 0), &new.version));
        let mut store = store();
        assert_eq!(store.apply(fragment.clone(), NOW), Verdict::Need(Version::new()), "unknown");
        assert_eq!(store.apply(whole(&old, key(0, 0)), NOW), Verdict::Merged(Effect::Created));
        let before = store.root();
        assert_eq!(store.apply(gap.clone(), NOW), Verdict::Need(old.version.clone()));
        assert_eq!((store.root(), store.get(key(0, 0))), (before, Some(&State::Alive(old.into()))));
        assert_eq!(store.apply(fragment.clone(), NOW), Verdict::Merged(Effect::Updated));
        assert_eq!(store.apply(fragment, NOW), Verdict::Merged(Effect::None), "again");
        assert_eq!(store.apply(gap, NOW), Verdict::Merged(Effect::Updated));
        assert_eq!(store.session(key(0, 0)), Some(&newer));
    }

    /// Tests rules T2 and H4.
    #[test]
    fn what_is_over_or_yet_to_come_is_not_merged() {
        let mut store = store();
        let old = session(1, NOW);
        let deadline = old.core.hard_deadline;
        assert_eq!(store.apply(whole(&old, key(0, 0)), deadline.plus(1)), Verdict::Dead);
        let idle = old.purge_after().plus(1);
        assert_eq!(store.apply(whole(&old, key(0, 0)), idle), Verdict::Dead, "idle for too long");
        let over = Delta { key: key(0, 0), body: end(NOW) };
        assert_eq!(store.apply(over.clone(), NOW.plus(1)), Verdict::Dead);
        let early = whole(&session(1, NOW.plus(SKEW_MS_MAX + 1)), key(0, 0));
        assert_eq!(store.apply(early, NOW), Verdict::Skew);
        assert_eq!(store.iter().count(), 0);
        assert_eq!(store.apply(over, NOW), Verdict::Merged(Effect::Ended));
    }

    /// Tests rule D4: nothing alive takes the place of an end.
    #[test]
    fn an_end_stands() {
        let mut store = store();
        let living = session(1, NOW);
        store.apply(whole(&living, key(0, 0)), NOW);
        let tombstone = living.end(EndReason::Logout);
        let ending = Delta { key: key(0, 0), body: Body::End(tombstone) };
        assert_eq!(store.apply(ending.clone(), NOW), Verdict::Merged(Effect::Ended));
        assert_eq!(store.apply(ending, NOW), Verdict::Merged(Effect::None), "again");
        let write = whole(&written(living, 2, NOW, 5), key(0, 0));
        assert_eq!(store.apply(write, NOW), Verdict::Ended(tombstone));
        assert_eq!((store.sessions(), store.tombstones()), (0, 1));
    }

    /// Tests rule T3: and not a millisecond shorter.
    #[test]
    fn a_tombstone_outlives_its_session_by_twice_the_skew() {
        let mut store = store();
        store.apply(Delta { key: key(0, 0), body: end(NOW.plus(100)) }, NOW);
        let last = NOW.plus(100 + 2 * SKEW_MS_MAX);
        assert_eq!(store.sweep(last, 10), Swept::default());
        assert_eq!(store.sweep(last.plus(1), 10).tombstones, 1);
        assert_eq!((store.bytes(), store.root()), (0, Digest::default()));
    }

    /// Tests rule E2: what was used meanwhile stays.
    #[test]
    fn a_sweep_goes_by_the_last_access() {
        let mut store = store();
        let living = session(1, NOW);
        store.apply(whole(&living, key(0, 0)), NOW);
        store.apply(whole(&living, key(0, 1)), NOW);
        store.apply(living.touch(key(0, 1), NOW.plus(60_000)), NOW.plus(60_000));
        let idle = living.purge_after();
        assert_eq!(store.sweep(idle, 10), Swept::default());
        assert_eq!(store.sweep(idle.plus(1), 10).expired, [key(0, 0)]);
        assert_eq!(store.sweep(idle.plus(60_000), 10), Swept::default());
        assert_eq!(store.sweep(idle.plus(60_001), 10).expired, [key(0, 1)]);
    }

    /// Tests rule E2: one tick does a bounded amount of it, the following ones the rest.
    #[test]
    fn bound_sweep_per_tick_max() {
        let mut store = store();
        for number in 0..2_000 {
            store.apply(Delta { key: key(0, number), body: end(NOW) }, NOW);
        }
        let now = NOW.plus(60_000);
        let mut counts = Vec::new();
        while store.tombstones() > 0 {
            counts.push(store.sweep(now, SWEEP_PER_TICK_MAX).tombstones);
        }
        assert_eq!(counts, [512, 512, 512, 464]);
    }

    /// Tests rule T3: however often an end is told with a later deadline, it is kept once.
    #[test]
    fn what_is_due_does_not_grow_with_what_is_told_again() {
        let mut store = store();
        for ms in 0..10_000 {
            store.apply(Delta { key: key(0, 0), body: end(NOW.plus(ms)) }, NOW);
        }
        assert_eq!((store.tombstones(), store.due.len()), (1, 1));
        let last = NOW.plus(9_999 + 2 * SKEW_MS_MAX);
        assert_eq!(store.sweep(last, 10), Swept::default());
        assert_eq!(store.sweep(last.plus(1), 10).tombstones, 1);
    }

    /// Tests rule P3: a list comes in pages, each key once.
    #[test]
    fn bound_list_keys_max() {
        let mut store = store();
        let count = 2 * u32::try_from(LIST_KEYS_MAX).expect("few") + 7;
        for number in 0..count {
            store.apply(Delta { key: key(5, number), body: end(NOW) }, NOW);
        }
        let slot = key(5, 0).slot();
        let (mut keys, mut after, mut pages) = (Vec::new(), None, Vec::new());
        loop {
            let (page, more) = store.list(slot, after, LIST_KEYS_MAX);
            pages.push(page.len());
            keys.extend(page.iter().map(|(key, _)| *key));
            after = keys.last().copied();
            if !more {
                break;
            }
        }
        assert_eq!(pages, [LIST_KEYS_MAX, LIST_KEYS_MAX, 7]);
        assert!(keys.into_iter().eq((0..count).map(|number| key(5, number))));
    }

    #[test]
    fn a_shard_holds_its_own_slots() {
        let mut store = Store::new(1_024, 1_024, 7, Rules::default());
        for (slot, held) in [(1_023, false), (1_024, true), (2_047, true), (2_048, false)] {
            assert_eq!(store.holds(key(slot, 0).slot()), held);
            let verdict = store.apply(whole(&session(1, NOW), key(slot, 0)), NOW);
            assert_eq!(verdict == Verdict::Merged(Effect::Created), held, "slot {slot}");
            assert_eq!(store.get(key(slot, 0)).is_some(), held);
        }
        let filled = |slot: &u16| !store.is_empty(key(*slot, 0).slot());
        assert_eq!((0..4_096).filter(filled).collect::<Vec<u16>>(), [1_024, 2_047]);
    }

    /// A copy of one session after some of the writes that three writers made to it, or its end.
    fn state() -> impl Strategy<Value = State> {
        let writes = prop::collection::vec((1_u64..4, 0_u64..50, 0_usize..9), 0..5);
        let reason = prop_oneof![Just(EndReason::Logout), Just(EndReason::Expired)];
        (writes, 0_u64..9, prop::option::weighted(0.2, reason)).prop_map(|(writes, used, ended)| {
            let mut copy = session(1, NOW);
            for (inc, ms, bytes) in writes {
                let mut clock = Clock::new(Inc(inc));
                clock.observe(&copy.version);
                copy = written(copy, inc, NOW.plus(ms), bytes);
            }
            copy.last_access = NOW.plus(used);
            match ended {
                Some(reason) => State::Ended(copy.end(reason)),
                None => State::Alive(copy.into()),
            }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Tests rules R3 and R4: taking whole states is joining them, and what is derived from
        /// the states is always what it would be if it were computed anew.
        #[test]
        fn applying_whole_states_is_joining_them(states in prop::collection::vec((0_u32..3, state()), 0..12)) {
            let mut store = store();
            let mut model: BTreeMap<SessionKey, State> = BTreeMap::new();
            for (number, state) in states {
                let key = key(number as u16, number);
                store.apply(state.to_delta(key), NOW.plus(10));
                let joined = match model.remove(&key) {
                    Some(held) => held.join(state),
                    None => state,
                };
                model.insert(key, joined);
                prop_assert_eq!(store.root(), store.recomputed_root());
                prop_assert_eq!(store.root(), store.root_of((0..Slot::COUNT).filter_map(Slot::new)));
            }
            let alive = model.values().filter(|state| matches!(state, State::Alive(_))).count();
            prop_assert_eq!((store.sessions(), store.tombstones()), (alive, model.len() - alive));
            prop_assert!(store.iter().eq(model.iter().map(|(key, state)| (*key, state))));
            prop_assert!(store.due.len() <= 2 * model.len());
            store.sweep(NOW.plus(4_000_000), 100);
            prop_assert_eq!((store.iter().count(), store.bytes()), (0, 0));
            prop_assert_eq!(store.root(), Digest::default());
        }
    }
}
