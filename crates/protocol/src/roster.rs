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

use std::cmp::Ordering;
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
        /// Version of the wire that its members speak.
        protocol: u8,
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
        /// Latest version of the wire that it speaks.
        version: u8,
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
    /// All members speak that version of the wire from now on, and who does not speak it can be no
    /// member any more (rule W2).
    SetProtocol {
        /// Greater than that before.
        version: u8,
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
    /// The members speak this version of the wire, and the process that wants to be one does not.
    Downgrade(u8),
    /// These members do not speak that version of the wire.
    NotSpoken(Vec<MemberName>),
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
            Self::Downgrade(version) => write!(
                f,
                "the cluster speaks wire version {version} since it was upgraded; start a release \
                 that speaks it"
            ),
            Self::NotSpoken(members) => {
                let names: Vec<&str> = members.iter().map(|name| name.0.as_str()).collect();
                write!(f, "not spoken by {}: upgrade these first", names.join(", "))
            }
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
            protocol: 0,
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
            Decision::Begin { generation, copies, protocol } => {
                self.view.generation = *generation;
                self.view.protocol = *protocol;
                self.wanted = *copies;
            }
            _ if !begun => return Err(Refused::OutOfPlace),
            Decision::Join { name, address, zone, start, version } => {
                let (name, address, zone) = (name.clone(), address.clone(), zone.clone());
                let member = Member {
                    name,
                    inc: Some(Inc(index)),
                    address,
                    zone,
                    start: *start,
                    leaving: false,
                    version: *version,
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
            Decision::SetProtocol { version } => self.set_protocol(*version)?,
        }
        self.view.epoch = index;
        self.settle(index);
        Ok(())
    }

    // Rule W2: what was agreed upon is spoken by everybody, also by who comes later.
    fn set_protocol(&mut self, version: u8) -> Result<(), Refused> {
        match version.cmp(&self.view.protocol) {
            Ordering::Less => return Err(Refused::Late),
            Ordering::Equal => return Err(Refused::NoNews),
            Ordering::Greater => {}
        }
        let behind = self.view.members.iter().filter(|member| member.version < version);
        let behind: Vec<MemberName> = behind.map(|member| member.name.clone()).collect();
        if !behind.is_empty() {
            return Err(Refused::NotSpoken(behind));
        }
        self.view.protocol = version;
        Ok(())
    }

    fn join(&mut self, index: u64, joiner: Member) -> Result<(), Refused> {
        if joiner.version < self.view.protocol {
            return Err(Refused::Downgrade(self.view.protocol));
        }
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
mod tests;
