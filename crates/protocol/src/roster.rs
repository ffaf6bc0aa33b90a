//! What the log of membership comes to: a pure machine from decisions to views.
//!
//! ```text
//! Join ─────► member ──► layout next ──► Synced from everybody in it ──► next is the only one
//! Drain ───► leaving ──► layout next without it ──► … ──► Remove
//! Remove ──► its places in the layouts in force are empty ──► layout next without it
//! Resize ──► layout next with other copies
//! ```
//!
//! Every node that applies the same decisions in the same order has the same views. The log is
//! Raft's at run time and an abstract one in the simulator; neither knows what a slot is.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use session::{Inc, Slot};
use smol_str::SmolStr;

use crate::limits::LAYOUTS_MAX;
use crate::placement::Placement;
use crate::rules::{Rule, Rules};
use crate::view::{Copies, Layout, Member, MemberName, View, Zone};

/// A decision of the log. Its index, unique and growing, is the identity of what it brings about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Decision {
    /// The first of a cluster: it has no members yet.
    Begin {
        /// Number of the cluster under its name, at least 1.
        generation: u64,
        /// How many members hold each session.
        copies: Copies,
    },
    /// A process has started. It is the member of that name from now on, under an `Inc` that is
    /// the index of this decision; an earlier process of the name is removed.
    Join {
        /// Its name.
        name: MemberName,
        /// Where the others reach it.
        address: SmolStr,
        /// Where it stands.
        zone: Zone,
        /// A number that the process has drawn: told again, it is the same process.
        start: u64,
    },
    /// A member has everything that it owns by the layout of that epoch (rule V7).
    Synced {
        /// Which member.
        inc: Inc,
        /// The layout's epoch.
        epoch: u64,
    },
    /// A member is to hand over what it holds, and then to go.
    Drain {
        /// Which member.
        inc: Inc,
    },
    /// A member is gone: it has handed over everything, or does not answer.
    Remove {
        /// Which member.
        inc: Inc,
        /// Also if nobody is left who could speak for some slot (rule V8).
        accept_loss: bool,
    },
    /// Another number of copies.
    Resize {
        /// How many members hold each session from now on.
        copies: Copies,
    },
    /// Membership is made anew from what a survivor knows: all but the survivors are gone for good.
    Recover {
        /// Number of the cluster from now on, greater than before: said twice, it is done once.
        generation: u64,
        /// Who goes on, with what they hold; at least one member.
        survivors: BTreeSet<Inc>,
    },
}

/// Why a decision changed nothing. Refusals are as deterministic as changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refused {
    /// There is a cluster already, or none yet.
    OutOfPlace,
    /// Its index, or its generation, is not greater than those before.
    Late,
    /// Nobody of that number is a member.
    NoMember,
    /// There are [`Inc::MEMBERS_MAX`] members already.
    Full,
    /// It would leave these slots without anybody who can speak for them (rule V8).
    WouldLose(Vec<Slot>),
    /// It has been said before, or speaks of a layout that is not being synced.
    NoNews,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OutOfPlace => f.write_str("there is a cluster already, or none yet"),
            Self::Late => f.write_str("a later decision has been made"),
            Self::NoMember => f.write_str("it is not a member"),
            Self::Full => write!(f, "a cluster has at most {} members", Inc::MEMBERS_MAX),
            Self::WouldLose(slots) => {
                write!(f, "{} slots would lose the last member that holds them", slots.len())
            }
            Self::NoNews => f.write_str("it is so already"),
        }
    }
}

impl std::error::Error for Refused {}

/// The state of the log. Its encoding is the snapshot of the log.
#[derive(Clone, Debug, Hash, Serialize, Deserialize)]
pub struct Roster {
    view: View,
    /// How many members are to hold each session.
    wanted: Copies,
    /// Members that have reported that they are synced in the layout of that epoch.
    synced: BTreeSet<(u64, Inc)>,
    /// How many slots there are: all of them, but in a simulator that uses a part.
    slots: u16,
    #[serde(skip)]
    rules: Rules,
}

impl Roster {
    /// The roster before the first decision.
    #[must_use]
    pub const fn new(slots: u16, rules: Rules) -> Self {
        let view = View {
            generation: 0,
            epoch: 0,
            members: Vec::new(),
            layouts: Vec::new(),
            losses: BTreeMap::new(),
        };
        Self { view, wanted: Copies::All, synced: BTreeSet::new(), slots, rules }
    }

    /// The roster of a node that knows no more than this view. Who has reported to be synced is not
    /// in it, so only owners by the oldest layout speak for what is lost next.
    #[must_use]
    pub fn of_view(view: View, slots: u16, rules: Rules) -> Self {
        let wanted = view.layouts.last().map_or(Copies::All, Layout::wanted);
        Self { view, wanted, synced: BTreeSet::new(), slots, rules }
    }

    /// The present view.
    #[must_use]
    pub const fn view(&self) -> &View {
        &self.view
    }

    /// Members that have not reported that they are synced in the layout that is being taken up.
    pub fn unsynced(&self) -> impl Iterator<Item = Inc> + '_ {
        let next = self.view.next_layout().into_iter();
        let seats = next.flat_map(|layout| layout.members.iter().map(|m| (layout.epoch, m.inc)));
        seats
            .filter_map(|(epoch, inc)| Some((epoch, inc?)))
            .filter(|(epoch, inc)| {
                self.view.contains(*inc) && !self.synced.contains(&(*epoch, *inc))
            })
            .map(|(_, inc)| inc)
    }

    /// Applies the decision of that index of the log. The view has changed if this is `Ok`.
    ///
    /// # Errors
    /// [`Refused`] says why nothing has changed.
    pub fn apply(&mut self, index: u64, decision: &Decision) -> Result<(), Refused> {
        if index <= self.view.epoch {
            return Err(Refused::Late);
        }
        let begun = self.view.generation > 0;
        match decision {
            Decision::Begin { .. } if begun => return Err(Refused::OutOfPlace),
            Decision::Begin { generation: 0, .. } => return Err(Refused::Late),
            Decision::Begin { generation, copies } => {
                self.view.generation = *generation;
                self.wanted = *copies;
            }
            _ if !begun => return Err(Refused::OutOfPlace),
            Decision::Join { name, address, zone, start } => {
                let (name, address, zone) = (name.clone(), address.clone(), zone.clone());
                let member = Member {
                    name,
                    inc: Some(Inc(index)),
                    address,
                    zone,
                    start: *start,
                    leaving: false,
                };
                self.join(index, member)?;
            }
            Decision::Synced { inc, epoch } => self.note_synced(*inc, *epoch)?,
            Decision::Drain { inc } => self.drain(*inc)?,
            Decision::Remove { inc, accept_loss } => self.remove(index, *inc, *accept_loss)?,
            Decision::Resize { copies } if *copies == self.wanted => return Err(Refused::NoNews),
            Decision::Resize { copies } => self.wanted = *copies,
            Decision::Recover { generation, survivors } => {
                self.recover(index, *generation, survivors)?;
            }
        }
        self.view.epoch = index;
        self.settle(index);
        Ok(())
    }

    fn join(&mut self, index: u64, joiner: Member) -> Result<(), Refused> {
        let before = self.view.members.iter().find(|member| member.name == joiner.name);
        if before.is_some_and(|member| member.start == joiner.start) {
            return Err(Refused::NoNews);
        }
        let before = before.and_then(|member| member.inc);
        if before.is_none() && self.view.members.len() as u64 >= Inc::MEMBERS_MAX {
            return Err(Refused::Full);
        }
        if let Some(before) = before {
            // The same name: whoever had it is gone, or will find out that it is not it any more.
            self.forget(index, before);
        }
        self.view.members.push(joiner);
        self.view.members.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(())
    }

    fn note_synced(&mut self, inc: Inc, epoch: u64) -> Result<(), Refused> {
        if !self.view.contains(inc) {
            return Err(Refused::NoMember);
        }
        let layout = self.view.layouts.iter().skip(1).find(|layout| layout.epoch == epoch);
        let in_it = layout.is_some_and(|l| l.members.iter().any(|m| m.inc == Some(inc)));
        if in_it && self.synced.insert((epoch, inc)) { Ok(()) } else { Err(Refused::NoNews) }
    }

    fn drain(&mut self, inc: Inc) -> Result<(), Refused> {
        let member = self.view.members.iter_mut().find(|member| member.inc == Some(inc));
        let member = member.ok_or(Refused::NoMember)?;
        if std::mem::replace(&mut member.leaving, true) { Err(Refused::NoNews) } else { Ok(()) }
    }

    // Rule V8: the last one that can speak for a slot does not go unnoticed.
    fn remove(&mut self, index: u64, inc: Inc, accept_loss: bool) -> Result<(), Refused> {
        if !self.view.contains(inc) {
            return Err(Refused::NoMember);
        }
        if self.rules.off(Rule::LossGate) {
            self.view.members.retain(|member| member.inc != Some(inc));
            return Ok(());
        }
        // All that it loses, with the layouts that it may make too many.
        let mut after = self.clone();
        after.forget(index, inc);
        after.settle(index);
        let lost = after.view.losses.iter().filter(|(_, epoch)| **epoch == index);
        let lost: Vec<Slot> = lost.map(|(slot, _)| *slot).collect();
        if !lost.is_empty() && !accept_loss {
            return Err(Refused::WouldLose(lost));
        }
        self.forget(index, inc);
        Ok(())
    }

    fn recover(
        &mut self,
        index: u64,
        generation: u64,
        survivors: &BTreeSet<Inc>,
    ) -> Result<(), Refused> {
        if generation <= self.view.generation {
            return Err(Refused::Late);
        }
        if survivors.is_empty() || !survivors.iter().all(|inc| self.view.contains(*inc)) {
            return Err(Refused::NoMember);
        }
        let members = self.view.members.iter().filter_map(|member| member.inc);
        let others: Vec<Inc> = members.filter(|inc| !survivors.contains(inc)).collect();
        for other in others {
            self.forget(index, other);
        }
        self.view.generation = generation;
        Ok(())
    }

    /// Takes a member out, and notes which slots nobody can speak for any more.
    fn forget(&mut self, index: u64, inc: Inc) {
        for slot in self.losses_without(inc) {
            self.view.losses.insert(slot, index);
        }
        self.view.members.retain(|member| member.inc != Some(inc));
        self.synced.retain(|(_, synced)| *synced != inc);
    }

    /// The slots of which `inc` is the last member that can speak for them.
    fn losses_without(&self, inc: Inc) -> Vec<Slot> {
        let placement = Placement::new(&self.view, 0, self.slots);
        let last = |slot: &Slot| {
            let mut speakers = self.speakers(&placement, *slot);
            speakers.next() == Some(inc) && speakers.next().is_none()
        };
        placement.slots().filter(last).collect()
    }

    /// Who has everything of a slot: its owners by the oldest layout, and those by a later one that
    /// have reported to be synced there. If there is none of both, what was before is lost already,
    /// and its owners by the oldest layout of which any is left have what came since.
    fn speakers<'a>(
        &'a self,
        placement: &'a Placement,
        slot: Slot,
    ) -> impl Iterator<Item = Inc> + 'a {
        let layouts = self.view.layouts.iter().enumerate().skip(1);
        let synced: BTreeSet<Inc> = layouts
            .flat_map(|(age, layout)| {
                let owners = placement.owners_by(age, slot);
                owners.filter(|owner| self.synced.contains(&(layout.epoch, *owner)))
            })
            .collect();
        let left = |age: &usize| placement.owners_by(*age, slot).next().is_some();
        let oldest = if synced.is_empty() { (0..self.view.layouts.len()).find(left) } else { None };
        placement.owners(slot).filter(move |owner| {
            placement.is_owner_by(oldest.unwrap_or(0), slot, *owner) || synced.contains(owner)
        })
    }

    /// Ends the transition if everybody is synced, and begins another if the newest layout is not
    /// what it should be.
    // Rules V4, V7. Joins, drains and another number of copies wait until the transition is over,
    // so that two layouts are the rule. A member that is removed meanwhile would leave slots of the
    // newest layout without an owner: only that begins a third.
    fn settle(&mut self, index: u64) {
        let under_way = self.view.layouts.len() > 1;
        let broken = self.view.layouts.last().is_some_and(|newest| self.has_gap(newest));
        if under_way && !broken {
            if self.unsynced().next().is_some() {
                return;
            }
            let newest = self.view.layouts.len() - 1;
            self.view.layouts.drain(..newest);
        }
        let staying = |member: &&Member| !member.leaving;
        let members: Vec<Member> = self.view.members.iter().filter(staying).cloned().collect();
        let fits = |layout: &Layout| layout.is_for(self.wanted, &members);
        if members.is_empty() || self.view.layouts.last().is_some_and(fits) {
            return;
        }
        if self.view.layouts.len() >= LAYOUTS_MAX {
            self.give_up_middle(index);
        }
        self.view.layouts.push(Layout { epoch: index, copies: self.wanted, members });
        let in_force: BTreeSet<u64> = self.view.layouts.iter().map(|l| l.epoch).collect();
        self.synced.retain(|(epoch, _)| in_force.contains(epoch));
    }

    /// Drops the layouts between the oldest and the next one. Who was synced only by them no
    /// longer speaks for their slots.
    fn give_up_middle(&mut self, index: u64) {
        let speakers = |roster: &Self| {
            let placement = Placement::new(&roster.view, 0, roster.slots);
            let has_one = |slot: &Slot| roster.speakers(&placement, *slot).next().is_some();
            placement.slots().filter(has_one).collect::<BTreeSet<Slot>>()
        };
        let before = speakers(self);
        self.view.layouts.drain(1..);
        let after = speakers(self);
        self.view.losses.extend(before.difference(&after).map(|slot| (*slot, index)));
    }

    /// True if a member of the layout has been removed.
    fn has_gap(&self, layout: &Layout) -> bool {
        let gone = |member: &Member| member.inc.is_none_or(|inc| !self.view.contains(inc));
        layout.members.iter().any(gone)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use proptest::prelude::*;

    use super::*;

    const SLOTS: u16 = 32;

    fn copies(count: u16) -> Copies {
        NonZeroU16::new(count).map_or(Copies::All, Copies::Count)
    }

    fn join(name: &str, start: u64) -> Decision {
        let (address, zone) = (SmolStr::default(), Zone::default());
        Decision::Join { name: name.into(), address, zone, start }
    }

    fn recover(generation: u64, survivors: impl IntoIterator<Item = Inc>) -> Decision {
        Decision::Recover { generation, survivors: survivors.into_iter().collect() }
    }

    /// A roster and the index of its latest decision.
    struct Log {
        roster: Roster,
        index: u64,
    }

    impl Log {
        fn new() -> Self {
            Self { roster: Roster::new(SLOTS, Rules::default()), index: 0 }
        }

        /// The members of these names, synced, with that many copies.
        fn of(names: &[&str], count: u16) -> Self {
            let mut log = Self::new();
            log.ok(Decision::Begin { generation: 1, copies: copies(count) });
            for name in names {
                log.ok(join(name, 1));
                log.sync();
            }
            log
        }

        fn apply(&mut self, decision: &Decision) -> Result<(), Refused> {
            self.index += 1;
            self.roster.apply(self.index, decision)
        }

        #[expect(clippy::needless_pass_by_value, reason = "so the stories read better")]
        #[track_caller]
        fn ok(&mut self, decision: Decision) {
            assert_eq!(self.apply(&decision), Ok(()), "{decision:?}");
        }

        /// The decision is refused, and changes nothing.
        #[expect(clippy::needless_pass_by_value, reason = "so the stories read better")]
        #[track_caller]
        fn refuses(&mut self, decision: Decision, refused: Refused) {
            let before = self.roster.view.clone();
            assert_eq!(self.apply(&decision), Err(refused), "{decision:?}");
            assert_eq!(self.roster.view, before);
        }

        fn inc(&self, name: &str) -> Inc {
            let member = self.roster.view.members.iter().find(|member| member.name == name.into());
            member.and_then(|member| member.inc).expect("a member")
        }

        fn remove(&self, name: &str, accept_loss: bool) -> Decision {
            Decision::Remove { inc: self.inc(name), accept_loss }
        }

        fn synced(&self, name: &str) -> Decision {
            let epoch = self.roster.view.layouts.last().expect("a layout").epoch;
            Decision::Synced { inc: self.inc(name), epoch }
        }

        /// Everybody reports, until nothing is under way.
        fn sync(&mut self) {
            loop {
                let next = self.roster.unsynced().next();
                let Some(inc) = next else { break };
                let epoch = self.roster.view.layouts.last().expect("a layout").epoch;
                self.ok(Decision::Synced { inc, epoch });
            }
        }

        /// The members of each layout in force.
        fn layouts(&self) -> Vec<String> {
            let names = |layout: &Layout| -> String {
                layout.members.iter().map(|member| member.name.0.as_str()).collect()
            };
            self.roster.view.layouts.iter().map(names).collect()
        }
    }

    #[test]
    fn nothing_is_decided_before_a_cluster_begins() {
        let mut log = Log::new();
        log.refuses(join("a", 1), Refused::OutOfPlace);
        log.refuses(Decision::Resize { copies: copies(2) }, Refused::OutOfPlace);
        log.refuses(Decision::Begin { generation: 0, copies: copies(2) }, Refused::Late);
        log.ok(Decision::Begin { generation: 1, copies: copies(2) });
        log.refuses(Decision::Begin { generation: 2, copies: copies(2) }, Refused::OutOfPlace);
        assert!(log.roster.view.layouts.is_empty() && log.roster.view.members.is_empty());
    }

    /// Tests rule V1: an index that has been is refused, and the epoch is the index.
    #[test]
    fn decisions_come_in_the_order_of_their_indexes() {
        let mut log = Log::of(&["a"], 2);
        let epoch = log.roster.view.epoch;
        assert_eq!(log.roster.apply(epoch, &join("b", 1)), Err(Refused::Late));
        assert_eq!(log.roster.apply(epoch - 1, &join("b", 1)), Err(Refused::Late));
        assert_eq!(log.roster.apply(epoch + 70, &join("b", 1)), Ok(()));
        assert_eq!(log.roster.view.epoch, epoch + 70);
        assert_eq!(log.inc("b"), Inc(epoch + 70), "its number is the index of its join");
    }

    /// Tests rule V4: the old layout stays until everybody in the new one is synced.
    #[test]
    fn a_join_begins_a_transition_that_ends_when_all_are_synced() {
        let mut log = Log::of(&["a", "b"], 2);
        log.ok(join("c", 1));
        assert_eq!(log.layouts(), ["ab", "abc"]);
        for (name, after) in [("c", 2), ("a", 2), ("b", 1)] {
            log.ok(log.synced(name));
            assert_eq!(log.roster.view.layouts.len(), after, "after {name}");
        }
        assert_eq!(log.layouts(), ["abc"]);
        assert!(log.roster.view.losses.is_empty());
    }

    #[test]
    fn a_join_told_twice_is_no_news() {
        let mut log = Log::of(&["a", "b"], 2);
        log.ok(join("c", 5));
        log.refuses(join("c", 5), Refused::NoNews);
        log.sync();
        log.refuses(join("c", 5), Refused::NoNews);
        log.refuses(join("a", 1), Refused::NoNews);
    }

    /// Tests rule V11: of two processes of a name the one that joined last is the member.
    #[test]
    fn a_join_of_the_same_name_removes_the_earlier_process() {
        let mut log = Log::of(&["a", "b"], 2);
        let before = log.inc("b");
        log.ok(join("b", 2));
        assert!(!log.roster.view.contains(before) && log.roster.view.contains(log.inc("b")));
        assert_eq!(log.layouts(), ["ab", "ab"], "the same slots, of which it has nothing");
        assert_eq!(log.roster.unsynced().count(), 2);
        log.refuses(Decision::Drain { inc: before }, Refused::NoMember);
        assert!(log.roster.view.losses.is_empty(), "a has it all");
        log.sync();

        let mut alone = Log::of(&["a"], 2);
        alone.ok(join("a", 2));
        assert_eq!(alone.roster.view.losses.len(), usize::from(SLOTS), "nobody had it but a");
    }

    #[test]
    fn bound_members_max() {
        let mut log = Log::new();
        log.roster = Roster::new(1, Rules::default());
        log.ok(Decision::Begin { generation: 1, copies: copies(1) });
        for number in 0..Inc::MEMBERS_MAX {
            log.ok(join(&number.to_string(), 1));
        }
        log.refuses(join("one more", 1), Refused::Full);
        log.ok(join("7", 2));
    }

    /// Tests rule V7.
    #[test]
    fn who_is_synced_is_believed_once_and_where_it_counts() {
        let mut log = Log::of(&["a", "b"], 2);
        log.refuses(log.synced("a"), Refused::NoNews);
        log.ok(join("c", 1));
        let (c, epoch) = (log.inc("c"), log.roster.view.epoch);
        log.refuses(Decision::Synced { inc: c, epoch: epoch + 1 }, Refused::NoNews);
        log.refuses(Decision::Synced { inc: Inc(999), epoch }, Refused::NoMember);
        log.ok(Decision::Synced { inc: c, epoch });
        log.refuses(Decision::Synced { inc: c, epoch }, Refused::NoNews);
        log.ok(join("d", 1));
        let d = Decision::Synced { inc: log.inc("d"), epoch };
        log.refuses(d, Refused::NoNews);
        assert_eq!(log.layouts(), ["ab", "abc"], "d waits until this is over");
        log.sync();
        assert_eq!(log.layouts(), ["abcd"]);
    }

    #[test]
    fn who_drains_is_in_no_new_layout_and_goes_without_a_loss() {
        let mut log = Log::of(&["a", "b", "c"], 1);
        let drain = Decision::Drain { inc: log.inc("b") };
        log.ok(drain.clone());
        log.refuses(drain, Refused::NoNews);
        assert_eq!(log.layouts(), ["abc", "ac"]);
        let Err(Refused::WouldLose(slots)) = log.apply(&log.remove("b", false)) else {
            panic!("only b has its slots yet");
        };
        assert!(!slots.is_empty() && slots.len() < usize::from(SLOTS));
        log.sync();
        log.ok(log.remove("b", false));
        assert_eq!(log.layouts(), ["ac"]);
        assert!(log.roster.view.losses.is_empty());
    }

    #[test]
    fn the_last_member_may_drain_and_then_holds_on() {
        let mut log = Log::of(&["a"], 1);
        log.ok(Decision::Drain { inc: log.inc("a") });
        assert_eq!(log.layouts(), ["a"], "there is nobody to hand over to");
        log.ok(join("b", 1));
        assert_eq!(log.layouts(), ["a", "b"]);
    }

    /// Tests rule V8: with two copies one may go; with one, or when the other is gone, not unnoticed.
    #[test]
    fn the_last_that_speaks_for_a_slot_is_not_removed_unnoticed() {
        let mut log = Log::of(&["a", "b", "c"], 2);
        log.ok(log.remove("a", false));
        assert!(log.roster.view.losses.is_empty());
        let Err(Refused::WouldLose(slots)) = log.apply(&log.remove("b", false)) else {
            panic!("b is the last of those that it owned together with a");
        };
        log.ok(log.remove("b", true));
        assert_eq!(log.roster.view.losses.keys().copied().collect::<Vec<_>>(), slots);
        assert!(log.roster.view.losses.values().all(|epoch| *epoch == log.index));
        log.refuses(Decision::Remove { inc: Inc(2), accept_loss: true }, Refused::NoMember);
    }

    /// Tests rule V8: what begins anew after a loss can be lost again, and is guarded.
    #[test]
    fn a_slot_that_was_lost_is_guarded_again() {
        let mut log = Log::of(&["a"], 1);
        log.ok(join("b", 1));
        log.ok(Decision::Drain { inc: log.inc("a") });
        log.sync();
        assert_eq!(log.layouts(), ["b"]);
        log.ok(join("c", 1));
        log.ok(log.remove("b", true));
        assert_eq!(log.roster.view.losses.len(), usize::from(SLOTS));
        let first = log.index;
        log.ok(join("d", 1));
        log.ok(log.remove("d", true));
        let Err(Refused::WouldLose(slots)) = log.apply(&log.remove("c", false)) else {
            panic!("c has what came since, reported or not");
        };
        assert_eq!(slots.len(), usize::from(SLOTS));
        log.ok(log.remove("c", true));
        assert!(log.roster.view.losses.values().all(|epoch| *epoch > first));
    }

    /// Tests rule V8: a member that has reported in a later layout is one that can speak.
    #[test]
    fn whoever_is_synced_in_the_next_layout_makes_an_earlier_owner_dispensable() {
        let mut log = Log::of(&["a"], 1);
        log.ok(Decision::Drain { inc: log.inc("a") });
        log.ok(join("b", 1));
        log.ok(join("c", 1));
        assert_eq!(log.layouts(), ["a", "b"]);
        let Err(Refused::WouldLose(_)) = log.apply(&log.remove("a", false)) else {
            panic!("b has not reported");
        };
        let view = log.roster.view.clone();
        log.ok(log.synced("b"));
        assert_ne!(view, log.roster.view);
        assert_eq!(log.layouts(), ["b", "bc"], "c's turn");
        log.ok(log.remove("a", false));
    }

    #[test]
    fn another_number_of_copies_is_a_transition() {
        let mut log = Log::of(&["a", "b", "c"], 2);
        log.refuses(Decision::Resize { copies: copies(2) }, Refused::NoNews);
        log.ok(Decision::Resize { copies: Copies::All });
        assert_eq!(log.layouts(), ["abc", "abc"]);
        log.ok(Decision::Resize { copies: copies(1) });
        assert_eq!(log.layouts().len(), 2, "one after the other");
        log.sync();
        assert_eq!(log.roster.view.layouts[0].copies, copies(1));
        assert_eq!(log.layouts().len(), 1);
    }

    /// Tests rule V4: a removal does not wait, because slots have lost an owner by it.
    #[test]
    fn a_removal_during_a_transition_begins_a_third_layout() {
        let mut log = Log::of(&["a", "b", "c"], 2);
        log.ok(join("d", 1));
        log.ok(log.remove("c", false));
        assert_eq!(log.layouts(), ["abc", "abcd", "abd"]);
        log.sync();
        assert_eq!(log.layouts(), ["abd"]);
    }

    #[test]
    fn bound_layouts_max() {
        let mut log = Log::of(&["a"], 1);
        for number in 0..20 {
            log.ok(join("b", number));
            assert!(log.roster.view.layouts.len() <= LAYOUTS_MAX);
        }
        assert!(log.roster.view.losses.is_empty(), "a has it all");
        log.sync();
        assert_eq!(log.layouts(), ["ab"]);
    }

    /// Tests rule V8: survivors keep their numbers, and lost is what none of them held.
    #[test]
    fn several_survivors_go_on_together() {
        let mut log = Log::of(&["a", "b", "c", "d", "e"], 2);
        let (b, d) = (log.inc("b"), log.inc("d"));
        let before = Placement::new(&log.roster.view, 0, SLOTS);
        log.ok(recover(2, [b, d]));
        assert_eq!((log.inc("b"), log.inc("d")), (b, d));
        assert_eq!(log.layouts(), ["abcde", "bd"]);
        let held = |slot: &Slot| before.owners(*slot).any(|owner| owner == b || owner == d);
        let lost: Vec<Slot> = before.slots().filter(|slot| !held(slot)).collect();
        assert!(!lost.is_empty() && lost.len() < usize::from(SLOTS) / 2);
        assert!(lost.iter().eq(log.roster.view.losses.keys()));
        log.sync();
        assert_eq!(log.layouts(), ["bd"]);
    }

    /// Tests rule V8: what a node does not know that follows a view is for its disadvantage.
    #[test]
    fn a_roster_of_a_view_goes_on_from_there() {
        let mut log = Log::of(&["a", "b", "c"], 2);
        log.ok(join("d", 1));
        let view = log.roster.view.clone();
        log.roster = Roster::of_view(view.clone(), SLOTS, Rules::default());
        assert_eq!(log.roster.view, view);
        assert_eq!(log.roster.unsynced().count(), 4);
        log.ok(recover(2, [log.inc("a")]));
        log.sync();
        assert_eq!(log.layouts(), ["a"]);
        log.refuses(Decision::Resize { copies: copies(2) }, Refused::NoNews);
        let begun = Roster::of_view(Log::new().roster.view, SLOTS, Rules::default());
        assert_eq!(begun.wanted, Copies::All);
    }

    #[test]
    fn a_survivor_goes_on_alone_under_another_generation() {
        let mut log = Log::of(&["a", "b", "c"], 2);
        log.refuses(recover(2, []), Refused::NoMember);
        log.refuses(recover(2, [log.inc("b"), Inc(999)]), Refused::NoMember);
        log.refuses(recover(1, [log.inc("b")]), Refused::Late);
        log.ok(recover(2, [log.inc("b")]));
        log.refuses(recover(2, [log.inc("b")]), Refused::Late);
        assert_eq!(log.roster.view.generation, 2);
        assert_eq!(log.roster.view.members.len(), 1);
        log.sync();
        assert_eq!(log.layouts(), ["b"]);
        let lost = log.roster.view.losses.len();
        assert!(0 < lost && lost < usize::from(SLOTS), "those that b did not own: {lost}");
        log.ok(join("a", 2));
        log.sync();
        assert_eq!(log.layouts(), ["ab"]);
    }

    #[test]
    fn refusals_say_why() {
        for refused in [
            Refused::OutOfPlace,
            Refused::Late,
            Refused::NoMember,
            Refused::Full,
            Refused::NoNews,
            Refused::WouldLose(vec![]),
        ] {
            assert!(refused.to_string().len() > 9);
        }
    }

    /// Who has all of a slot, in a model that follows the data and not the log: whoever had it stays
    /// so while it owns the slot by some layout; who reports has it; and where nobody is left, or the
    /// log has given the slot up, those that are there have all that comes from then on.
    type Holders = BTreeMap<Slot, BTreeSet<Inc>>;

    fn held(before: &Holders, view: &View, reported: Option<(Inc, u64)>) -> (Holders, Vec<Slot>) {
        let placement = Placement::new(view, 0, SLOTS);
        let (mut held, mut lost) = (Holders::new(), Vec::new());
        for slot in placement.slots() {
            let owners: BTreeSet<Inc> = placement.owners(slot).collect();
            let had = before.get(&slot).cloned().unwrap_or_default();
            let mut have: BTreeSet<Inc> = had.intersection(&owners).copied().collect();
            if let Some((inc, epoch)) = reported {
                let age = view.layouts.iter().position(|layout| layout.epoch == epoch);
                if age.is_some_and(|age| placement.is_owner_by(age, slot, inc)) {
                    have.insert(inc);
                }
            }
            if have.is_empty() && !had.is_empty() {
                lost.push(slot);
            }
            if have.is_empty() || view.losses.get(&slot) == Some(&view.epoch) {
                have = owners;
            }
            held.insert(slot, have);
        }
        (held, lost)
    }

    #[derive(Clone, Debug)]
    enum Move {
        Join(u8, bool),
        Synced(u8),
        Drain(u8),
        Remove(u8, bool),
        Resize(u16),
        Recover(u8),
        Late,
    }

    fn moves() -> impl Strategy<Value = Vec<Move>> {
        let one = prop_oneof![
            6 => (0_u8..6, any::<bool>()).prop_map(|(name, again)| Move::Join(name, again)),
            20 => any::<u8>().prop_map(Move::Synced),
            2 => any::<u8>().prop_map(Move::Drain),
            4 => (any::<u8>(), any::<bool>()).prop_map(|(who, accept)| Move::Remove(who, accept)),
            2 => (0_u16..4).prop_map(Move::Resize),
            1 => any::<u8>().prop_map(Move::Recover),
            1 => Just(Move::Late),
        ];
        prop::collection::vec(one, 0..60)
    }

    fn decision(log: &Log, step: &Move) -> Option<Decision> {
        let view = &log.roster.view;
        let pick = |number: &u8| {
            let incs: Vec<Inc> = view.members.iter().filter_map(|member| member.inc).collect();
            incs.get(usize::from(*number).checked_rem(incs.len())?).copied()
        };
        Some(match step {
            Move::Join(name, again) => {
                let start = if *again { 1 } else { log.index };
                join(&name.to_string(), start)
            }
            Move::Synced(number) => {
                let layouts = &view.layouts;
                let layout = layouts.get(usize::from(number >> 4).checked_rem(layouts.len())?)?;
                Decision::Synced { inc: pick(number)?, epoch: layout.epoch }
            }
            Move::Drain(number) => Decision::Drain { inc: pick(number)? },
            Move::Remove(number, accept_loss) => {
                Decision::Remove { inc: pick(number)?, accept_loss: *accept_loss }
            }
            Move::Resize(number) => Decision::Resize { copies: copies(*number) },
            Move::Recover(mask) => {
                let incs = view.members.iter().filter_map(|member| member.inc).zip(0..);
                let survivors = incs.filter(|(_, bit)| mask >> bit & 1 == 1).map(|(inc, _)| inc);
                let generation = view.generation + u64::from(mask >> 6);
                Decision::Recover { generation, survivors: survivors.collect() }
            }
            Move::Late => Decision::Begin { generation: 9, copies: copies(1) },
        })
    }

    fn check(view: &View) {
        assert!(view.layouts.is_sorted_by(|a, b| a.epoch < b.epoch), "{view:?}");
        assert!(view.layouts.len() <= LAYOUTS_MAX);
        assert!(view.layouts.iter().all(|layout| layout.epoch <= view.epoch));
        assert!(view.members.is_sorted_by(|a, b| a.name < b.name));
        for layout in &view.layouts {
            assert!(layout.members.is_sorted_by(|a, b| a.name < b.name));
        }
        let staying = view.members.iter().any(|member| !member.leaving);
        if let (Some(newest), true) = (view.layouts.last(), staying) {
            let present = |member: &Member| member.inc.is_some_and(|inc| view.contains(inc));
            assert!(newest.members.iter().all(present), "every slot has all its owners: {view:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

        /// Tests rules V1, V4 and V8: whatever is decided in whatever order, epochs grow, few
        /// layouts are in force, no slot loses all that it had without a note of that epoch, no
        /// refusal changes anything, and every transition ends.
        #[test]
        fn any_sequence_of_decisions_keeps_the_invariants(moves in moves()) {
            let mut log = Log::new();
            log.ok(Decision::Begin { generation: 1, copies: copies(2) });
            let mut holders = Holders::new();
            for step in moves {
                let Some(decision) = decision(&log, &step) else { continue };
                let before = log.roster.view.clone();
                let told = log.apply(&decision);
                let view = &log.roster.view;
                if told.is_err() {
                    prop_assert_eq!(view, &before);
                    continue;
                }
                prop_assert_eq!(view.epoch, log.index);
                check(view);
                let reported = match decision {
                    Decision::Synced { inc, epoch } => Some((inc, epoch)),
                    Decision::Begin { .. }
                    | Decision::Join { .. }
                    | Decision::Drain { .. }
                    | Decision::Remove { .. }
                    | Decision::Resize { .. }
                    | Decision::Recover { .. } => None,
                };
                let (now, lost) = held(&holders, view, reported);
                holders = now;
                for slot in lost {
                    prop_assert_eq!(view.losses.get(&slot), Some(&log.index), "{:?}", decision);
                    let accepted = !matches!(decision, Decision::Remove { accept_loss: false, .. });
                    prop_assert!(accepted, "{:?} loses {:?}", decision, slot);
                }
            }
            log.sync();
            // Unless nobody is left to whom anything could be handed over.
            let view = &log.roster.view;
            let staying = view.members.iter().any(|member| !member.leaving);
            prop_assert!(view.layouts.len() <= 1 || !staying, "{:?}", log.roster);
        }
    }
}
