//! Requests that wait for what other owners hold (rule K2).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use session::{Inc, SessionKey, State, Time, Tombstone, Version};

use crate::event::Ticket;
use crate::limits::{FETCH_RETRY_MS, LOADS_FOR_PEERS_MAX, LOADS_MAX, LOADS_PER_PEER_MAX};
use crate::message::Commit;
use crate::retries::patience_ms;
use crate::waiters::Asker;

/// What is done once the copy is good enough.
#[derive(Clone, Debug, Hash)]
pub(crate) enum Purpose {
    /// It is handed to a request.
    Open(Ticket),
    /// Edits are stamped onto it.
    Commit(Asker, Box<Commit>),
}

/// One request that waits.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Load {
    pub(crate) key: SessionKey,
    pub(crate) purpose: Purpose,
    /// What the copy must cover.
    pub(crate) want: Version,
    /// From then on the absence of the session proves nothing (amendment 7); `None`: no token.
    pub(crate) may_expire: Option<Time>,
    pub(crate) started: Time,
    pub(crate) deadline: Time,
    /// True once every member has been asked, not only the likely ones.
    pub(crate) widened: bool,
    /// True if every owner must answer, however good the copy here is (rule E4).
    pub(crate) everyone: bool,
    /// What others hold, for a node that does not own the session: it keeps nothing beyond the
    /// request (promise P11).
    pub(crate) scratch: Option<State>,
    asked: BTreeMap<Inc, Asked>,
}

#[derive(Clone, Copy, Debug, Default, Hash)]
struct Asked {
    at: Time,
    tries: u32,
    /// `Some(synced)` once it has answered.
    answered: Option<bool>,
}

impl Load {
    pub(crate) const fn new(
        key: SessionKey,
        purpose: Purpose,
        want: Version,
        may_expire: Option<Time>,
        started: Time,
        deadline: Time,
    ) -> Self {
        let asked = BTreeMap::new();
        Self {
            key,
            purpose,
            want,
            may_expire,
            started,
            deadline,
            widened: false,
            everyone: false,
            scratch: None,
            asked,
        }
    }

    /// The same request, which is answered once every owner has answered.
    pub(crate) fn of_everyone(self) -> Self {
        Self { widened: true, everyone: true, ..self }
    }

    /// The peer on whose behalf it waits; `None`: a request of this process.
    pub(crate) fn peer(&self) -> Option<Inc> {
        match &self.purpose {
            Purpose::Commit(Asker::Peer(peer, _), _) => Some(*peer),
            Purpose::Commit(Asker::Local(_), _) | Purpose::Open(_) => None,
        }
    }

    /// True if `peer` is to be asked now, for the first time or, if `may_repeat`, once more.
    // Rule B6.
    pub(crate) fn ask(&mut self, peer: Inc, now: Time, may_repeat: impl FnOnce() -> bool) -> bool {
        let asked = self.asked.entry(peer).or_default();
        let late = now.since(asked.at) >= patience_ms(FETCH_RETRY_MS, asked.tries);
        let due = asked.answered.is_none() && (asked.tries == 0 || (late && may_repeat()));
        if due {
            asked.at = now;
            asked.tries += 1;
        }
        due
    }

    /// Takes what another node holds of the session into the copy of this request.
    pub(crate) fn join(&mut self, state: State) {
        self.scratch = Some(match self.scratch.take() {
            Some(held) => held.join(state),
            None => state,
        });
    }

    pub(crate) fn has_answered(&self, peer: Inc) -> bool {
        self.asked.get(&peer).is_some_and(|asked| asked.answered.is_some())
    }

    /// True if `peer` has answered, and is synced.
    pub(crate) fn is_confirmed_by(&self, peer: Inc) -> bool {
        self.asked.get(&peer).is_some_and(|asked| asked.answered == Some(true))
    }

    /// True if an owner that is synced has answered.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.asked.values().any(|asked| asked.answered == Some(true))
    }

    /// True if somebody was asked, and everybody asked so far has answered.
    pub(crate) fn is_quiet(&self) -> bool {
        let mut answers = self.asked.values().map(|asked| asked.answered.is_some());
        !self.asked.is_empty() && answers.all(|answered| answered)
    }
}

/// The waiting requests of one shard; at most [`LOADS_MAX`], of which at most
/// [`LOADS_FOR_PEERS_MAX`] are on behalf of peers, and [`LOADS_PER_PEER_MAX`] of each.
///
/// Invariant: `for_peers` counts those of `waiting` by [`Load::peer`], and has no zero.
#[derive(Clone, Default, Hash)]
pub(crate) struct Loads {
    waiting: BTreeMap<u64, Load>,
    for_peers: BTreeMap<Inc, usize>,
    next: u64,
}

impl Loads {
    /// Takes a request in and numbers it; gives it back if too many wait.
    pub(crate) fn add(&mut self, load: Load) -> Result<u64, Box<Load>> {
        if self.waiting.len() >= LOADS_MAX || !load.peer().is_none_or(|peer| self.has_room(peer)) {
            return Err(Box::new(load));
        }
        if let Some(peer) = load.peer() {
            *self.for_peers.entry(peer).or_default() += 1;
        }
        self.next += 1;
        self.waiting.insert(self.next, load);
        Ok(self.next)
    }

    /// A session has ended here. Whoever waits for it learns so, also if this node does not own it
    /// and the owner that is asked has not heard of the end.
    // Rule D4.
    pub(crate) fn end(&mut self, key: SessionKey, tombstone: Tombstone) {
        let waiting = self.waiting.values_mut().filter(|load| load.key == key);
        waiting.for_each(|load| load.join(State::Ended(tombstone)));
    }

    /// The owners have changed: what the earlier ones answered is not what has to be known.
    pub(crate) fn restart(&mut self) {
        self.waiting.values_mut().for_each(|load| load.asked.clear());
    }

    /// True if one more may wait on behalf of `peer`.
    // Rule F2.
    fn has_room(&self, peer: Inc) -> bool {
        let own = self.for_peers.get(&peer).copied().unwrap_or(0);
        own < LOADS_PER_PEER_MAX && self.for_peers.values().sum::<usize>() < LOADS_FOR_PEERS_MAX
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Load> {
        self.waiting.get(&number)
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut Load> {
        self.waiting.get_mut(&number)
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<Load> {
        let load = self.waiting.remove(&number)?;
        if let Some(peer) = load.peer()
            && let Entry::Occupied(mut count) = self.for_peers.entry(peer)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        Some(load)
    }

    /// `peer` has ended: nobody waits for what it asked.
    pub(crate) fn forget(&mut self, peer: Inc) {
        self.waiting.retain(|_, load| load.peer() != Some(peer));
        self.for_peers.remove(&peer);
    }

    /// Notes the answer of `peer`; false if it was not asked.
    pub(crate) fn answer(&mut self, number: u64, peer: Inc, synced: bool) -> bool {
        let Some(load) = self.waiting.get_mut(&number) else {
            return false;
        };
        let Some(asked) = load.asked.get_mut(&peer) else {
            return false;
        };
        asked.answered = Some(synced);
        true
    }

    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.waiting.keys().copied().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Ack;
    use crate::fixtures::{NOW, key};
    use crate::message::Life;

    fn load() -> Load {
        let purpose = Purpose::Open(Ticket(1));
        Load::new(key(0, 0), purpose, Version::new(), None, NOW, NOW.plus(1_000))
    }

    /// Tests rule K2: a question without an answer is repeated, one with an answer is not.
    #[test]
    fn bound_fetch_retry_ms() {
        let mut loads = Loads::default();
        let number = loads.add(load()).expect("room");
        let ask = |loads: &mut Loads, ms| {
            loads.get_mut(number).is_some_and(|load| load.ask(Inc(2), NOW.plus(ms), || true))
        };
        assert!(ask(&mut loads, 0));
        assert!(!ask(&mut loads, FETCH_RETRY_MS - 1));
        assert!(ask(&mut loads, FETCH_RETRY_MS));
        assert!(loads.answer(number, Inc(2), false));
        assert!(!ask(&mut loads, 10 * FETCH_RETRY_MS));
    }

    /// Tests rule N1: whoever answers, only a synced owner's ignorance means something.
    #[test]
    fn an_answer_counts_from_whom_was_asked() {
        let mut loads = Loads::default();
        let number = loads.add(load()).expect("room");
        assert!(!loads.answer(number, Inc(2), true), "not asked");
        assert!(!loads.answer(number + 1, Inc(2), true), "no such question");
        loads.get_mut(number).expect("it waits").ask(Inc(2), NOW, || true);
        loads.get_mut(number).expect("it waits").ask(Inc(3), NOW, || true);
        assert!(loads.answer(number, Inc(2), false));
        let load = loads.get(number).expect("it waits");
        assert!(load.has_answered(Inc(2)) && !load.is_confirmed() && !load.is_quiet());
        assert!(loads.answer(number, Inc(3), true));
        let load = loads.get(number).expect("it waits");
        assert!(load.is_confirmed() && load.is_quiet());
    }

    /// Tests rule K2.
    #[test]
    fn bound_loads_max() {
        let mut loads = Loads::default();
        for _ in 0..LOADS_MAX {
            loads.add(load()).expect("room");
        }
        assert!(loads.add(load()).is_err());
        assert_eq!(loads.len(), LOADS_MAX);
        assert!(loads.remove(1).is_some());
        assert!(loads.add(load()).is_ok());
    }

    /// Tests rule F2: one peer uses up its share, all of them together theirs, and requests of this
    /// process have room.
    #[test]
    fn bound_loads_per_peer_max_and_loads_for_peers_max() {
        let mut loads = Loads::default();
        let on_behalf = |loads: &mut Loads, peer: u64, number: u64| {
            let commit = Commit {
                key: key(0, 0),
                life: Life::Keep,
                at: Version::new(),
                edits: Vec::new(),
                level: Ack::One,
            };
            let purpose = Purpose::Commit(Asker::Peer(Inc(peer), number), Box::new(commit));
            loads.add(Load { purpose, ..load() })
        };
        let fill = |loads: &mut Loads, peer| {
            (0..).take_while(|number| on_behalf(loads, peer, *number).is_ok()).count()
        };
        assert_eq!(fill(&mut loads, 2), LOADS_PER_PEER_MAX);
        for peer in 3..6 {
            assert_eq!(fill(&mut loads, peer), LOADS_PER_PEER_MAX, "the others have their share");
        }
        assert_eq!((fill(&mut loads, 6), loads.len()), (0, LOADS_FOR_PEERS_MAX));
        assert!(loads.remove(1).is_some());
        assert_eq!(fill(&mut loads, 2), 1, "one goes, one may come");
        loads.forget(Inc(2));
        assert_eq!(loads.len(), LOADS_FOR_PEERS_MAX - LOADS_PER_PEER_MAX);
        assert_eq!(fill(&mut loads, 6), LOADS_PER_PEER_MAX);
        let room = (0..).take_while(|_| loads.add(load()).is_ok()).count();
        assert_eq!(room, LOADS_MAX - LOADS_FOR_PEERS_MAX);
    }
}
