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
    /// What this process wrote there and gave up since it last spoke for the slot.
    given_up: Option<GivenUp>,
    /// The latest creation among the sessions that it wrote to, gave up, and that may have been
    /// lost after that.
    bereft: Hlc,
}

impl Slotful {
    /// True if what this process wrote to the session, and gave up, may be lost.
    fn is_bereft(&self, state: &State) -> bool {
        began_by(state, self.bereft)
    }
}

/// True if it is a living session that began no later.
fn began_by(state: &State, latest: Hlc) -> bool {
    match state {
        State::Alive(session) => session.core.created.hlc <= latest,
        State::Ended(_) => false,
    }
}

/// What is remembered of a slot that was given up.
#[derive(Clone, Copy, Hash)]
struct GivenUp {
    /// The epoch by which that was.
    epoch: u64,
    /// The latest creation among the sessions that this process had written to.
    created: Hlc,
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

    /// True if what this process wrote to the session, and gave up, may be lost for good.
    // Rule V9.
    #[must_use]
    pub(crate) fn is_bereft(&self, key: SessionKey) -> bool {
        let Some(index) = self.index(key.slot()) else { return false };
        let slot = &self.slots[index];
        slot.entries.get(&key).is_some_and(|entry| slot.is_bereft(&entry.state))
    }

    /// What this process stamped and forgot, every owner has given back as far as it still
    /// exists: it may stamp the session again. Not so if that may be lost.
    // Rules E4, V9.
    pub(crate) fn readmit(&mut self, key: SessionKey) {
        let Some(index) = self.index(key.slot()) else { return };
        let retired = self.is_bereft(key);
        if let Some(entry) = self.slots[index].entries.get_mut(&key) {
            entry.retired = retired;
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
        let slot = &self.slots[index];
        let retired = began_by(&state, slot.forgotten) || slot.is_bereft(&state);
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
mod tests;
