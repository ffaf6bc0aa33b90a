//! Catching up with another owner: compare summaries, list what differs, ask for it.
//!
//! A comparison is a *pull*: the side that starts it ends up with everything that the other held
//! when it began. Each side pulls for itself, so nothing has to be agreed, and the one that asks
//! decides how fast it goes (its requests are the credit).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use session::{Inc, SessionKey, Slot, Time};

use crate::limits::{
    LIST_KEYS_MAX, LISTS_IN_FLIGHT_MAX, NEED_KEYS_MAX, NEEDS_IN_FLIGHT_MAX, ROUND_REPEAT_MS,
    ROUND_STALL_MS,
};

/// What a comparison does next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// Say what is held here, and ask what differs.
    Root,
    /// Ask for the list of a slot.
    Compare(Slot, Option<SessionKey>),
    /// Ask for sessions, under this number.
    Need(u64, Vec<SessionKey>),
    /// Everything listed has arrived; all answers were of this epoch or a later one.
    Complete(u64),
}

/// When a question was asked last, and as the how-manieth of its comparison.
#[derive(Clone, Copy, Debug, Hash)]
struct Asked {
    at: Time,
    turn: u64,
}

/// One comparison with one peer.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Round {
    pub(crate) number: u64,
    progress: Time,
    /// Questions asked so far, repetitions included.
    turns: u64,
    /// The latest turn that was answered.
    heard: u64,
    /// When the peer was asked whether anything differs.
    root: Asked,
    /// Slots, or rests of slots, that differ and have not been listed.
    todo: VecDeque<(Slot, Option<SessionKey>)>,
    /// Lists that were asked for.
    listing: BTreeMap<(Slot, Option<SessionKey>), Asked>,
    /// Listed, differing, not asked for yet.
    wants: BTreeSet<SessionKey>,
    /// Asked for, by request.
    needs: BTreeMap<u64, (Vec<SessionKey>, Asked)>,
    /// False until the peer said whether anything differs.
    answered: bool,
    /// Set while the peer has nothing to spare.
    paused: bool,
    /// The earliest epoch that an answer was of (rule V6).
    epoch: u64,
    /// The epoch by which this node said first what it holds.
    said_in: u64,
}

impl Round {
    const fn new(number: u64, now: Time) -> Self {
        Self {
            number,
            progress: now,
            turns: 0,
            heard: 0,
            root: Asked { at: now, turn: 0 },
            todo: VecDeque::new(),
            listing: BTreeMap::new(),
            wants: BTreeSet::new(),
            needs: BTreeMap::new(),
            answered: false,
            paused: false,
            epoch: u64::MAX,
            said_in: u64::MAX,
        }
    }

    /// The peer went by this epoch when it said what it holds.
    pub(crate) fn note_epoch(&mut self, epoch: u64) {
        self.epoch = self.epoch.min(epoch);
    }

    /// This node says what it holds, by that epoch.
    pub(crate) fn say(&mut self, epoch: u64) {
        self.said_in = self.said_in.min(epoch);
    }

    /// The peer went by this epoch when it said that it holds the same. That speaks of what this
    /// node held when it asked, and it may have given up a slot since: so it is as of then.
    // Rule V7.
    pub(crate) fn note_same(&mut self, epoch: u64) {
        self.note_epoch(epoch.min(self.said_in));
    }

    const fn ask(&mut self, now: Time) -> Asked {
        self.turns += 1;
        Asked { at: now, turn: self.turns }
    }

    /// True if a question is to be asked again: it has waited long enough, and either something
    /// asked after it has been answered or nothing at all has. Answers take the order of their
    /// questions, so on a line that is merely slow neither is the case, and what is on its way is
    /// not asked for twice.
    // Rule P3.
    fn is_lost(&self, asked: Asked, now: Time) -> bool {
        let overtaken = asked.turn < self.heard;
        let silence = now.since(asked.at.max(self.progress));
        now.since(asked.at) >= ROUND_REPEAT_MS && (overtaken || silence >= ROUND_REPEAT_MS)
    }

    /// The questions that wait for an answer and are to be asked again.
    fn repeat(&mut self, now: Time) -> Vec<Step> {
        if !self.answered {
            if !self.is_lost(self.root, now) {
                return Vec::new();
            }
            self.root = self.ask(now);
            return vec![Step::Root];
        }
        let lists = self.listing.iter().filter(|(_, asked)| self.is_lost(**asked, now));
        let lists: Vec<_> = lists.map(|(list, _)| *list).collect();
        let needs = self.needs.iter().filter(|(_, (_, asked))| self.is_lost(*asked, now));
        let needs: Vec<_> = needs.map(|(number, (keys, _))| (*number, keys.clone())).collect();
        let mut steps = Vec::new();
        for list in lists {
            let asked = self.ask(now);
            self.listing.insert(list, asked);
            steps.push(Step::Compare(list.0, list.1));
        }
        for (number, keys) in needs {
            let asked = self.ask(now);
            self.needs.insert(number, (keys.clone(), asked));
            steps.push(Step::Need(number, keys));
        }
        steps
    }

    /// The peer said which slots differ; none: nothing does.
    pub(crate) fn differing(&mut self, slots: Vec<Slot>, now: Time) {
        if !self.answered {
            self.answered = true;
            self.todo = slots.into_iter().map(|slot| (slot, None)).collect();
            self.progress = now;
        }
    }

    /// True if this is the list that was asked for; then `wanted` of it is asked for next, and the
    /// list goes on after `rest`.
    pub(crate) fn listed(
        &mut self,
        slot: Slot,
        after: Option<SessionKey>,
        wanted: impl IntoIterator<Item = SessionKey>,
        rest: Option<SessionKey>,
        now: Time,
    ) {
        let Some(asked) = self.listing.remove(&(slot, after)) else {
            return;
        };
        self.heard = self.heard.max(asked.turn);
        self.progress = now;
        self.wants.extend(wanted);
        if rest.is_some() {
            self.todo.push_front((slot, rest));
        }
    }

    /// True if that list is awaited.
    pub(crate) fn awaits(&self, slot: Slot, after: Option<SessionKey>) -> bool {
        self.listing.contains_key(&(slot, after))
    }

    /// Sessions arrived, or the peer deferred them. False if they were not asked for.
    pub(crate) fn supplied(&mut self, request: u64, again: Vec<SessionKey>, now: Time) -> bool {
        let Some((keys, asked)) = self.needs.remove(&request) else {
            return false;
        };
        self.heard = self.heard.max(asked.turn);
        // What is remembered here is not for the peer to choose.
        let again: Vec<SessionKey> = again.into_iter().filter(|key| keys.contains(key)).collect();
        if again.len() < keys.len() {
            self.progress = now;
        }
        self.paused = !again.is_empty();
        self.wants.extend(again);
        true
    }

    fn next(&mut self, requests: &mut u64, now: Time) -> Option<Step> {
        if !self.answered {
            return None;
        }
        if self.needs.len() < NEEDS_IN_FLIGHT_MAX && !self.wants.is_empty() && !self.paused {
            let keys: Vec<SessionKey> = self.wants.iter().take(NEED_KEYS_MAX).copied().collect();
            for key in &keys {
                self.wants.remove(key);
            }
            *requests += 1;
            let asked = self.ask(now);
            self.needs.insert(*requests, (keys.clone(), asked));
            return Some(Step::Need(*requests, keys));
        }
        if self.listing.len() < LISTS_IN_FLIGHT_MAX
            && self.wants.len() < LIST_KEYS_MAX
            && let Some((slot, after)) = self.todo.pop_front()
        {
            let asked = self.ask(now);
            self.listing.insert((slot, after), asked);
            return Some(Step::Compare(slot, after));
        }
        let complete = self.listing.is_empty() && self.wants.is_empty() && self.needs.is_empty();
        (complete && self.todo.is_empty()).then_some(Step::Complete(self.epoch))
    }
}

#[derive(Clone, Debug, Hash)]
struct PeerRepair {
    next_at: Time,
    round: Option<Round>,
}

/// The comparisons of one shard, at most one per peer.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Repair {
    peers: BTreeMap<Inc, PeerRepair>,
    interval_ms: u64,
    rounds: u64,
    requests: u64,
    seed: u64,
}

/// What is due with a peer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// A comparison starts under this number.
    Start(u64),
    /// The comparison of this number repeats a question.
    Repeat(u64, Step),
    /// The comparison has failed.
    Failed,
}

impl Repair {
    pub(crate) const fn new(interval_ms: u64, seed: u64) -> Self {
        Self { peers: BTreeMap::new(), interval_ms, rounds: 0, requests: 0, seed }
    }

    /// A comparison with `peer` starts with the next tick.
    pub(crate) fn hasten(&mut self, peer: Inc, now: Time) {
        self.peers.entry(peer).or_insert(PeerRepair { next_at: now, round: None }).next_at = now;
    }

    /// A comparison with `peer` starts with the next tick, unless one is under way.
    pub(crate) fn start_soon(&mut self, peer: Inc, now: Time) {
        let repair = self.peers.entry(peer).or_insert(PeerRepair { next_at: now, round: None });
        if repair.round.is_none() {
            repair.next_at = now;
        }
    }

    /// Comparisons with everybody start with the next tick.
    pub(crate) fn hasten_all(&mut self, now: Time) {
        for peer in self.peers.values_mut() {
            peer.next_at = now;
        }
    }

    /// `peer` cannot be compared with for now.
    pub(crate) fn stop(&mut self, peer: Inc) {
        self.peers.remove(&peer);
    }

    /// The comparison with `peer` under that number.
    pub(crate) fn round_mut(&mut self, peer: Inc, number: u64) -> Option<&mut Round> {
        self.peers.get_mut(&peer)?.round.as_mut().filter(|round| round.number == number)
    }

    /// Starts comparisons that are due and ends those that stall.
    pub(crate) fn handle_tick(&mut self, now: Time) -> Vec<(Inc, Due)> {
        let mut due = Vec::new();
        let spread = self.interval_ms * 2 / 5;
        for (inc, peer) in &mut self.peers {
            if let Some(round) = &mut peer.round {
                round.paused = false;
                if now.since(round.progress) > ROUND_STALL_MS {
                    peer.round = None;
                    peer.next_at = now.plus(self.interval_ms / 20);
                    due.push((*inc, Due::Failed));
                } else {
                    let steps = round.repeat(now).into_iter();
                    due.extend(steps.map(|step| (*inc, Due::Repeat(round.number, step))));
                }
            } else if peer.next_at <= now {
                self.rounds += 1;
                let noise = xxhash_rust::xxh3::xxh3_64_with_seed(&inc.0.to_le_bytes(), {
                    self.seed.wrapping_add(self.rounds)
                });
                let jitter = if spread == 0 { 0 } else { noise % spread };
                peer.next_at = now.plus(self.interval_ms - spread / 2 + jitter);
                peer.round = Some(Round::new(self.rounds, now));
                due.push((*inc, Due::Start(self.rounds)));
            }
        }
        due
    }

    /// The next step of the comparison with `peer`; call until `None`.
    pub(crate) fn next_step(&mut self, peer: Inc, now: Time) -> Option<(u64, Step)> {
        let repair = self.peers.get_mut(&peer)?;
        let round = repair.round.as_mut()?;
        let number = round.number;
        let step = round.next(&mut self.requests, now)?;
        if matches!(step, Step::Complete(_)) {
            repair.round = None;
        }
        Some((number, step))
    }

    /// The comparison that a supply belongs to.
    pub(crate) fn round_needing(&mut self, peer: Inc, request: u64) -> Option<&mut Round> {
        let round = self.peers.get_mut(&peer)?.round.as_mut()?;
        round.needs.contains_key(&request).then_some(round)
    }

    pub(crate) fn peers(&self) -> Vec<Inc> {
        self.peers.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests;
