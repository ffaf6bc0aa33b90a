//! What really happened: every write ever stamped, every session ever ended, every acknowledgement
//! ever given. It looks into all hosts at once, which no host can.

mod crashes;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hasher as _};

use protocol::{Commit, Lane, Life, Message};
use session::{
    Body, Content, Core, Delta, Edit, Hlc, Inc, SKEW_MS_MAX, Session, SessionKey, Stamp, State,
    Time, Value, Version,
};

use crate::client::{COUNTER, name};
use crate::coverage::Point;
use crate::world::{Violation, World};

/// A write as it was stamped.
pub(crate) struct Logged {
    pub(crate) stamp: Stamp,
    pub(crate) delta: Delta,
    /// By how much it changed the counter that nobody resets.
    pub(crate) added: i64,
    /// Crashes, and removals, before it was stamped.
    pub(crate) crashes: u64,
    /// The writer's first stamp that does not include it, because no copy had it any more.
    pub(crate) skipped_by: Option<Hlc>,
}

impl Logged {
    /// True if a copy at `version` has it.
    pub(crate) fn is_in(&self, version: &Version) -> bool {
        let skipped = self.skipped_by.is_some_and(|by| version.get(self.stamp.inc) >= Some(by));
        version.covers(self.stamp) && !skipped
    }

    /// True if whoever made it had that write.
    fn is_made_on(&self, stamp: Stamp) -> bool {
        match &self.delta.body {
            Body::Change(change) => change.hi.covers(stamp),
            Body::End(_) => false,
        }
    }
}

/// A write that clients were told is held by others.
pub(crate) struct AckedWrite {
    pub(crate) version: Version,
    /// Copies beside the stamper's.
    pub(crate) got: usize,
    /// Processes that held it and died.
    pub(crate) crashed: usize,
}

/// A process that died, and what it held of a session: a version, or its end.
pub(crate) struct Dead {
    pub(crate) inc: Inc,
    pub(crate) held: Option<Version>,
}

impl Dead {
    /// True if it had that version, or the end where there is none.
    pub(crate) fn had(&self, version: &Version) -> bool {
        self.held.as_ref().is_none_or(|held| !version.is_empty() && held.covers_all(version))
    }
}

/// What is known of one session.
#[derive(Default)]
pub(crate) struct Record {
    pub(crate) log: Vec<Logged>,
    pub(crate) core: Option<Core>,
    /// Hash of the content at each version that was ever seen.
    contents: BTreeMap<u64, u64>,
    pub(crate) acked: Vec<AckedWrite>,
    /// Processes that held it and died.
    pub(crate) died: Vec<Dead>,
    /// Processes that gave it up, and the last of their own stamps in it then.
    pub(crate) given_up: BTreeMap<Inc, Hlc>,
    /// Of an acknowledged end: copies beside the first, and processes that held it and died.
    pub(crate) end_acked: Option<(usize, usize)>,
    /// By which stamp each value was written here.
    written: BTreeMap<Value, Stamp>,
    /// Processes that have held its tombstone, and since when, in microseconds.
    pub(crate) ended_at: BTreeMap<Inc, u64>,
    /// Values that some request tried to write.
    pub(crate) values: BTreeSet<Value>,
    /// Elements that some request tried to remove, and what it had seen.
    pub(crate) withdrawn: Vec<(Value, Version)>,
    /// Additions that clients attempted, and those that they know took effect.
    pub(crate) attempted_additions: i64,
    /// True once a write that was acknowledged is lost by more crashes than it survives.
    pub(crate) lost: bool,
}

impl Record {
    /// Notes the values that this stamp wrote; if one was written before, by which stamp.
    fn written_before(&mut self, delta: &Delta, stamp: Stamp) -> Option<Stamp> {
        let Body::Change(change) = &delta.body else { return None };
        for (_, attribute) in &change.attributes {
            if let (Some(since), Content::Register(value)) = (attribute.since, &attribute.content)
                && since == stamp
            {
                let first = *self.written.entry(value.clone()).or_insert(stamp);
                if first != stamp {
                    return Some(first);
                }
            }
        }
        None
    }
}

/// What a host held when it was last looked at.
#[derive(Clone)]
pub(crate) struct Seen {
    version: Version,
    last_access: Time,
    ended: Option<Time>,
    purge_after: Time,
    elements: Vec<(Value, Version)>,
}

pub(crate) struct Oracle {
    pub(crate) records: BTreeMap<SessionKey, Record>,
    /// Per host, what its process held.
    pub(crate) seen: Vec<BTreeMap<SessionKey, Seen>>,
    /// Which session each stamp marks a write of.
    stamps: BTreeMap<(Inc, Hlc), SessionKey>,
    /// Sessions that a process has forgotten for idleness.
    forgotten: BTreeSet<(Inc, SessionKey)>,
    pub(crate) serial: u64,
    pub(crate) crashes: u64,
    /// How often a copy went away: given up because others own its slot, or with its process.
    pub(crate) given_up: u64,
    /// Every number that a process has run under.
    pub(crate) incs: BTreeSet<Inc>,
    /// Edits that were forwarded, by their sender and its number, and have arrived.
    pub(crate) forwards: BTreeSet<(Inc, u64)>,
    /// Messages other than the beginning of a comparison since the last look.
    pub(crate) loud: u64,
    pub(crate) last_loud: String,
    /// True once nothing loud is expected any more.
    pub(crate) listening: bool,
}

impl Oracle {
    pub(crate) fn new(nodes: usize) -> Self {
        Self {
            records: BTreeMap::new(),
            seen: vec![BTreeMap::new(); nodes],
            stamps: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            serial: 0,
            crashes: 0,
            given_up: 0,
            incs: BTreeSet::new(),
            forwards: BTreeSet::new(),
            loud: 0,
            last_loud: String::new(),
            listening: false,
        }
    }

    pub(crate) fn started(&mut self, host: usize) {
        self.seen[host].clear();
    }

    /// A request is about to commit this.
    pub(crate) fn attempted(&mut self, commit: &Commit) {
        let record = self.records.entry(commit.key).or_default();
        if let Life::Create(core) = &commit.life {
            record.core = Some(core.clone());
        }
        for edit in &commit.edits {
            match edit {
                Edit::Set(_, value) => {
                    record.values.insert(value.clone());
                }
                Edit::Add(counter, amount) if counter.as_str() == COUNTER => {
                    record.attempted_additions += amount;
                }
                Edit::Withdraw(_, element) => {
                    record.withdrawn.push((element.clone(), commit.at.clone()));
                }
                Edit::Remove(set) if set.as_str() == "s" => {
                    // Whatever stands in it may go.
                    for element in ["w", "x", "y", "z"] {
                        record.withdrawn.push((element.into(), all_of(Inc(u64::MAX))));
                    }
                }
                Edit::SetIf { .. }
                | Edit::Remove(_)
                | Edit::Add(..)
                | Edit::Reset(_)
                | Edit::Insert(..) => {}
            }
        }
    }

    pub(crate) fn noise(&mut self, _lane: Lane, message: &Message) {
        if !matches!(
            message,
            Message::Root { .. } | Message::Same { .. } | Message::Compared { .. }
        ) {
            self.loud += 1;
            if self.listening {
                self.last_loud = format!("{message:?}");
            }
        }
    }

    /// The session as it must be at `version`: the join of the writes that it covers (I-COV).
    pub(crate) fn expected(&self, key: SessionKey, version: &Version) -> Option<Session> {
        let record = self.records.get(&key)?;
        let mut session = Session::new(record.core.clone()?);
        let mut writes: Vec<&Logged> =
            record.log.iter().filter(|write| write.is_in(version)).collect();
        writes.sort_by_key(|write| write.stamp);
        for write in writes {
            if let Body::Change(change) = &write.delta.body {
                session.merge_unchecked(change);
            }
        }
        Some(session)
    }
}

/// A version that stands for "everything", where only its identity matters.
fn all_of(inc: Inc) -> Version {
    Stamp { hlc: Hlc(u64::MAX), inc }.into()
}

pub(crate) fn is_everything(version: &Version) -> bool {
    version.get(Inc(u64::MAX)).is_some()
}

fn hash(value: &impl std::hash::Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The counter that nobody resets, as one writer has counted it.
fn added_by(session: Option<&Session>, inc: Inc) -> i64 {
    match session.map(|session| session.content(&name(COUNTER))) {
        Some(Content::Counter(counter)) => counter.tally(inc).map_or(0, |tally| {
            i64::try_from(tally.plus).unwrap_or(i64::MAX)
                - i64::try_from(tally.minus).unwrap_or(i64::MAX)
        }),
        Some(Content::Absent | Content::Set(_) | Content::Register(_)) | None => 0,
    }
}

impl World {
    /// Something changed at a host: what holds at every step is checked here.
    pub(crate) fn observe(&mut self, host: usize, key: SessionKey) -> Result<(), Violation> {
        let now = self.hosts[host].now(self.now_us);
        let Some(process) = &self.hosts[host].process else { return Ok(()) };
        let inc = process.inc;
        let state = process.node.store().get(key).cloned();
        let before = self.oracle.seen[host].get(&key).cloned();
        match state {
            None if !process.node.owns(key) => {
                self.observe_given_up(host, inc, key, before.as_ref())
            }
            None => self.observe_purge(host, key, before.as_ref(), now),
            Some(State::Ended(tombstone)) => {
                let now_us = self.now_us;
                let record = self.oracle.records.entry(key).or_default();
                record.ended_at.entry(inc).or_insert(now_us);
                let seen = Seen {
                    version: Version::new(),
                    last_access: Time(0),
                    ended: Some(tombstone.deadline),
                    purge_after: tombstone.deadline,
                    elements: Vec::new(),
                };
                self.oracle.seen[host].insert(key, seen);
                Ok(())
            }
            Some(State::Alive(session)) => {
                self.observe_alive(host, inc, key, &session, before.as_ref(), now)
            }
        }
    }

    /// Tombstones go at their deadline and not before, sessions when idle or over (rule T3).
    fn observe_purge(
        &mut self,
        host: usize,
        key: SessionKey,
        before: Option<&Seen>,
        now: Time,
    ) -> Result<(), Violation> {
        self.oracle.seen[host].remove(&key);
        let early = before.is_some_and(|seen| match seen.ended {
            Some(deadline) => now <= deadline.plus(2 * SKEW_MS_MAX),
            None => now < seen.purge_after,
        });
        if early {
            let detail = format!("n{} forgot {key:?} too early", host + 1);
            return Err(self.violation("T3", detail));
        }
        let inc = self.hosts[host].process.as_ref().map(|process| process.inc);
        if let Some(inc) = inc.filter(|_| before.is_some_and(|seen| seen.ended.is_none())) {
            self.oracle.forgotten.insert((inc, key));
        }
        Ok(())
    }

    fn observe_alive(
        &mut self,
        host: usize,
        inc: Inc,
        key: SessionKey,
        session: &Session,
        before: Option<&Seen>,
        now: Time,
    ) -> Result<(), Violation> {
        let wrong = |world: &Self, rule, what: &str| {
            Err(world.violation(rule, format!("{key:?} at n{} {what}", host + 1)))
        };
        let record = self.oracle.records.entry(key).or_default();
        if record.ended_at.contains_key(&inc) {
            return wrong(self, "I-TERM", "lives again");
        }
        if now > session.core.hard_deadline {
            return wrong(self, "T2", "was merged after its deadline");
        }
        if session.version.newest().time() > now.plus(SKEW_MS_MAX) {
            return wrong(self, "I-HLC", "holds a stamp from the future");
        }
        if let Some(seen) = before {
            let grew = seen.ended.is_none()
                && session.version.covers_all(&seen.version)
                && session.last_access >= seen.last_access;
            if !grew {
                return wrong(self, "I-MONO", "lost something");
            }
        }
        let (content, version) = (hash(&session.attributes), hash(&session.version));
        if *record.contents.entry(version).or_insert(content) != content {
            return wrong(self, "I-DET", &format!("has another content at {:?}", session.version));
        }
        let node = self.hosts[host].process.as_ref().map(|process| &process.node);
        if node.is_some_and(|node| node.store().is_retired(key)) {
            self.coverage.hit(Point::Retired);
        }
        self.observe_write(host, inc, key, session, before)?;
        let seen = Seen {
            version: session.version.clone(),
            last_access: session.last_access,
            ended: None,
            purge_after: session.purge_after(),
            elements: elements(session),
        };
        self.oracle.seen[host].insert(key, seen);
        Ok(())
    }

    /// If the host has stamped something, it goes into the log.
    fn observe_write(
        &mut self,
        host: usize,
        inc: Inc,
        key: SessionKey,
        session: &Session,
        before: Option<&Seen>,
    ) -> Result<(), Violation> {
        let own = session.version.get(inc);
        let known = before.and_then(|seen| seen.version.get(inc));
        let Some(hlc) = own.filter(|_| own != known) else { return Ok(()) };
        let created = session.core.created == Stamp { hlc, inc };
        let alone = session.version.len() == 1;
        let log = self.oracle.records.get(&key).map_or(&[][..], |record| &record.log);
        if log.iter().any(|write| write.stamp.inc == inc && write.stamp.hlc >= hlc) {
            // A copy that was forgotten for idleness came back with what is in the log.
            return Ok(());
        }
        let logged = !log.is_empty();
        if created && (logged || !alone) {
            // Another host executed the creation with edits of its own; it is in the log.
            return Ok(());
        }
        // A creation bears the stamp of whoever drew the id, and may be executed by another.
        if !created {
            self.check_owner(host, key)?;
        }
        // One stamp marks one write, of one session.
        if *self.oracle.stamps.entry((inc, hlc)).or_insert(key) != key {
            let detail = format!("{inc:?} stamped {hlc:?} twice");
            return Err(self.violation("I-HLC", detail));
        }
        if self.oracle.forgotten.contains(&(inc, key)) {
            self.forget_lost(key, Stamp { hlc, inc }, &session.version, before)?;
        }
        if let Some(seen) = before {
            self.check_removals(host, key, session, seen)?;
        }
        let lo = before.map(|seen| seen.version.clone()).unwrap_or_default();
        let delta = session.extract(key, &lo);
        let (crashes, stamp) = (self.oracle.crashes, Stamp { hlc, inc });
        let record = self.oracle.records.entry(key).or_default();
        if let Some(first) = record.written_before(&delta, stamp) {
            let detail = format!("{key:?}: what {first:?} wrote, {stamp:?} writes again");
            return Err(self.violation("F1", detail));
        }
        self.note_skipped(key, stamp, before);
        let record = self.oracle.records.entry(key).or_default();
        let version = &session.version;
        let mine = record.log.iter().filter(|w| w.stamp.inc == inc && w.is_in(version));
        let previous = mine.map(|w| w.added).sum();
        let added = added_by(Some(session), inc).saturating_sub(previous);
        record.log.push(Logged { stamp, delta, added, crashes, skipped_by: None });
        Ok(())
    }

    /// Rule E4: a process stamps a session that it had forgotten once everybody has given back what
    /// still exists. What it wrote before and nobody has any more, everybody forgot for idleness
    /// while a cut kept later accesses from them; it is no part of the session from then on.
    fn forget_lost(
        &mut self,
        key: SessionKey,
        stamp: Stamp,
        now: &Version,
        before: Option<&Seen>,
    ) -> Result<(), Violation> {
        let Some(record) = self.oracle.records.get(&key) else { return Ok(()) };
        // Whoever has a later write of somebody else has what that was made on (rule R3); it may
        // have come in the same moment as the stamp.
        let others = || record.log.iter().filter(|w| w.stamp.inc != stamp.inc && w.is_in(now));
        let came_back = |write: &Logged| {
            before.is_some_and(|seen| seen.version.covers(write.stamp))
                || others().any(|other| other.is_made_on(write.stamp))
        };
        let is_lost = |write: &Logged| {
            write.stamp.inc == stamp.inc && write.stamp.hlc < stamp.hlc && !came_back(write)
        };
        let lost: Vec<Stamp> = record.log.iter().filter(|w| is_lost(w)).map(|w| w.stamp).collect();
        if let Some(record) = self.oracle.records.get_mut(&key) {
            record.log.retain(|write| !lost.contains(&write.stamp));
        }
        let holds = |stamp: &Stamp| {
            let copies = self.oracle.seen.iter().filter_map(|seen| seen.get(&key));
            copies.filter(|copy| copy.ended.is_none()).any(|copy| copy.version.covers(*stamp))
        };
        if let Some(held) = lost.iter().find(|stamp| holds(stamp)) {
            let detail = format!("{key:?}: {stamp:?} claims {held:?}, which somebody else holds");
            return Err(self.violation("E4", detail));
        }
        Ok(())
    }

    /// Rule A3: an addition goes only if some request that removed it had seen it.
    fn check_removals(
        &self,
        host: usize,
        key: SessionKey,
        session: &Session,
        seen: &Seen,
    ) -> Result<(), Violation> {
        let Some(record) = self.oracle.records.get(&key) else { return Ok(()) };
        let now = elements(session);
        let gone = |element: &Value| !now.iter().any(|(held, _)| held == element);
        for (element, stamps) in seen.elements.iter().filter(|(element, _)| gone(element)) {
            for (inc, hlc) in stamps.iter() {
                let stamp = Stamp { hlc, inc };
                let wanted = record
                    .withdrawn
                    .iter()
                    .any(|(e, at)| e == element && (is_everything(at) || at.covers(stamp)));
                if !wanted {
                    let detail = format!("n{} removed an unseen addition of {key:?}", host + 1);
                    return Err(self.violation("A3", detail));
                }
            }
        }
        Ok(())
    }
}

fn elements(session: &Session) -> Vec<(Value, Version)> {
    match session.content(&name("s")) {
        Content::Set(set) => set
            .iter_stamps()
            .map(|(element, stamps)| {
                (element.clone(), stamps.iter().map(|s| (s.inc, s.hlc)).collect())
            })
            .collect(),
        Content::Absent | Content::Counter(_) | Content::Register(_) => Vec::new(),
    }
}
