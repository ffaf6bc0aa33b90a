//! Who is removed because nobody hears it: from what members report to the leader, its decisions.
//! Pure. How a member notices that another is silent is not said here, nor how decisions are made.
//!
//! ```text
//! reports, one a second ──► evident now ──► for `settle_ms` without a break ──► due ──► removed
//!                              │                                                 │
//!                              └── a majority: held ◄── too many in `window_ms` ─┘
//! ```
//!
//! A leader that cannot hear half of the members may be on the smaller side of a cut network, so it
//! removes none of them: that is for an operator to say. Every voter is shown every view, so that
//! whoever leads next knows how many have gone lately, and who flaps.

mod quarantine;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use protocol::{Member, MemberName, View, Zone};
use session::Inc;

use quarantine::Quarantine;

/// When members are removed, and when they may come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuspectPolicy {
    /// A member is removed when it has been evident for so long without a break, in milliseconds.
    /// Members that fall silent together are noticed up to a heartbeat apart; this is long enough
    /// that all of them are seen before the first is removed.
    pub settle_ms: u64,
    /// A report counts for so long, in milliseconds: one may be late, two may not. At most
    /// `settle_ms` is used, so that no single report carries a removal.
    pub report_ms_max: u64,
    /// After it could not hear half of the members, the leader removes nobody for so long, in
    /// milliseconds: when halves meet again their links come up one after another, up to a back-off
    /// apart, and who is the last of them has not crashed.
    pub heal_ms: u64,
    /// In so many milliseconds only a minority is removed.
    pub window_ms: u64,
    /// How long a member that is removed for the second time may not come back, in milliseconds. It
    /// doubles with each further time.
    pub quarantine_ms_min: u64,
    /// It is never longer than this, in milliseconds: a node that works again is let in while
    /// whoever has repaired it still looks on.
    pub quarantine_ms_max: u64,
    /// So long after a quarantine, in milliseconds, what was before is forgotten.
    pub forget_ms: u64,
    /// A process that has been a member for less, in milliseconds, and is followed by another of
    /// its name, has crashed at its start, as it does again and again.
    pub life_ms_min: u64,
}

impl Default for SuspectPolicy {
    fn default() -> Self {
        Self {
            settle_ms: 2_000,
            report_ms_max: 2_000,
            heal_ms: 6_000,
            window_ms: 30_000,
            quarantine_ms_min: 10_000,
            quarantine_ms_max: 600_000,
            forget_ms: 600_000,
            life_ms_min: 30_000,
        }
    }
}

/// A member, as the latest view has it.
#[derive(Clone, Debug)]
struct Seat {
    name: MemberName,
    zone: Zone,
    leaving: bool,
    /// When a view had it first, in milliseconds; `None` if the first view of all had.
    since_ms: Option<u64>,
}

/// Whom one member suspects.
#[derive(Clone, Debug)]
struct Report {
    at_ms: u64,
    suspects: BTreeSet<Inc>,
}

/// Members that were removed at one moment.
#[derive(Clone, Debug)]
struct Step {
    at_ms: u64,
    /// How many members there were before.
    members: usize,
    gone: BTreeSet<Inc>,
}

/// What a voter knows of who is suspected, and of who has gone lately. Calls whose clock goes back
/// are taken as made at the latest moment there was.
///
/// It keeps a list of members for each member, and names of those that flap: at most
/// [`Inc::MEMBERS_MAX`] of each.
// Rules D5, D6.
#[derive(Clone, Debug)]
pub struct Suspects {
    policy: SuspectPolicy,
    now_ms: u64,
    /// Generation and epoch of the latest view.
    seen: Option<(u64, u64)>,
    members: BTreeMap<Inc, Seat>,
    /// Reporters and those whom they suspect are members.
    reports: BTreeMap<Inc, Report>,
    term: u64,
    looked_ms: u64,
    /// Since when a member is evident without a break. Forgotten when a term begins.
    evident: BTreeMap<Inc, u64>,
    /// When those that were evident were last no minority.
    split_ms: Option<u64>,
    /// What has gone within the window, the oldest first; each of them at least one member.
    steps: VecDeque<Step>,
    held: BTreeSet<Inc>,
    quarantine: Quarantine,
}

impl Suspects {
    /// Knows of nobody.
    #[must_use]
    pub const fn new(policy: SuspectPolicy) -> Self {
        Self {
            policy,
            now_ms: 0,
            seen: None,
            members: BTreeMap::new(),
            reports: BTreeMap::new(),
            term: 0,
            looked_ms: 0,
            evident: BTreeMap::new(),
            split_ms: None,
            steps: VecDeque::new(),
            held: BTreeSet::new(),
            quarantine: Quarantine::new(),
        }
    }

    /// Takes each view, also while this voter does not lead.
    pub fn handle_view(&mut self, view: &View, now_ms: u64) {
        let now_ms = self.clock(now_ms);
        if self.seen.is_some_and(|seen| (view.generation, view.epoch) <= seen) {
            return;
        }
        let same = self.seen.is_some_and(|(generation, _)| generation == view.generation);
        let new = same.then_some(now_ms);
        let seat = |member: &Member| {
            let inc = member.inc?;
            let since_ms = self.members.get(&inc).map_or(new, |seat| seat.since_ms);
            let (name, zone) = (member.name.clone(), member.zone.clone());
            Some((inc, Seat { name, zone, leaving: member.leaving, since_ms }))
        };
        let members: BTreeMap<Inc, Seat> = view.members.iter().filter_map(seat).collect();
        let before = std::mem::replace(&mut self.members, members);
        self.seen = Some((view.generation, view.epoch));
        if same {
            self.note_departures(&before, now_ms);
        } else {
            // Made anew by an operator: what was decided before has nothing to do with this.
            self.steps.clear();
            self.evident.clear();
            self.split_ms = None;
        }
        let is_member = |inc: &Inc| self.members.contains_key(inc);
        self.reports.retain(|reporter, _| is_member(reporter));
        self.reports.values_mut().for_each(|report| report.suspects.retain(is_member));
        self.evident.retain(|inc, _| is_member(inc));
        self.held.retain(is_member);
    }

    /// Takes the list of all whom a member suspects, in place of its last one. This member's own
    /// list comes the same way, before each [`Self::decide`]. The caller has verified who reports.
    pub fn handle_report(&mut self, reporter: Inc, mut suspects: BTreeSet<Inc>, now_ms: u64) {
        let at_ms = self.clock(now_ms);
        if self.members.contains_key(&reporter) {
            suspects.retain(|inc| self.members.contains_key(inc));
            self.reports.insert(reporter, Report { at_ms, suspects });
        }
    }

    /// Whom the leader removes now: to be called a few times a second by whoever leads, and by
    /// nobody else. `me` is the leader, `term` is Raft's. Names who is to be removed again as long
    /// as the view has it and it is evident, so that a proposal that was lost is made again.
    pub fn decide(&mut self, view: &View, me: Inc, term: u64, now_ms: u64) -> Vec<Inc> {
        self.handle_view(view, now_ms);
        let now_ms = self.clock(now_ms);
        if self.term != term {
            // What others have told before this term, they tell again.
            self.term = term;
            self.reports.retain(|reporter, _| *reporter == me);
            self.evident.clear();
        }
        let report_ms_max = self.policy.report_ms_max.min(self.policy.settle_ms);
        if now_ms - self.looked_ms >= report_ms_max.max(1) {
            // Nobody has looked for so long that it is not known what was in between.
            self.evident.clear();
        }
        self.looked_ms = now_ms;
        self.reports.retain(|_, report| now_ms - report.at_ms < report_ms_max);
        self.steps.retain(|step| now_ms - step.at_ms < self.policy.window_ms);
        let evident = self.find_evident(me);
        self.evident.retain(|inc, _| evident.contains(inc));
        for inc in &evident {
            self.evident.entry(*inc).or_insert(now_ms);
        }
        let removed = self.remove_due(now_ms);
        debug_assert!(!removed.contains(&me), "a leader never removes itself");
        removed
    }

    /// Members that others suspect: the leader makes sure itself, as not everybody hears of all.
    #[must_use]
    pub fn doubted(&self) -> BTreeSet<Inc> {
        self.reports.values().flat_map(|report| &report.suspects).copied().collect()
    }

    /// Members that would be removed, and are not, because they are no minority of those that there
    /// are, or were a moment ago or within the window. An operator may remove them.
    #[must_use]
    pub const fn held(&self) -> &BTreeSet<Inc> {
        &self.held
    }

    /// How long the member of that name may not join yet, in milliseconds; `None` if it may.
    #[must_use]
    pub fn wait_to_join(&self, name: &MemberName, now_ms: u64) -> Option<u64> {
        self.quarantine.wait_ms(name, now_ms.max(self.now_ms))
    }

    fn clock(&mut self, now_ms: u64) -> u64 {
        self.now_ms = self.now_ms.max(now_ms);
        self.now_ms
    }

    /// A member that is in the view no more has left, was followed by another process of its name,
    /// or was removed. By whom is not known, so all removals count.
    fn note_departures(&mut self, before: &BTreeMap<Inc, Seat>, now_ms: u64) {
        let names: BTreeSet<&MemberName> = self.members.values().map(|seat| &seat.name).collect();
        let mut removed = BTreeSet::new();
        for (inc, seat) in before {
            if self.members.contains_key(inc) || seat.leaving {
                continue;
            }
            let lived_ms = seat.since_ms.map_or(u64::MAX, |since_ms| now_ms - since_ms);
            let is_followed = names.contains(&seat.name);
            if !is_followed && !self.is_counted(*inc) {
                removed.insert(*inc);
            }
            if !is_followed || lived_ms < self.policy.life_ms_min {
                self.quarantine.note(&seat.name, &self.policy, now_ms);
            }
        }
        if !removed.is_empty() {
            self.count(before.len(), removed, now_ms);
        }
    }

    fn is_counted(&self, inc: Inc) -> bool {
        self.steps.iter().any(|step| step.gone.contains(&inc))
    }

    fn count(&mut self, members: usize, gone: BTreeSet<Inc>, at_ms: u64) {
        self.steps.push_back(Step { at_ms, members, gone });
    }

    /// Who is evident now. Whoever is, is not listened to: so of two that suspect each other one
    /// stays, and of two groups that do, one.
    fn find_evident(&self, me: Inc) -> BTreeSet<Inc> {
        let nobody = BTreeSet::new();
        let of = |inc: Inc| self.reports.get(&inc).map_or(&nobody, |report| &report.suspects);
        let mut evident: BTreeSet<Inc> = of(me).iter().copied().filter(|inc| *inc != me).collect();
        let suspected = self.reports.values().flat_map(|report| &report.suspects).copied();
        let suspected: BTreeSet<Inc> = suspected.filter(|inc| *inc != me).collect();
        loop {
            let voices = |suspect: Inc| -> BTreeSet<Inc> {
                let accuses = |voice: &Inc| *voice != suspect && of(*voice).contains(&suspect);
                let heard = self.reports.keys().copied().filter(|voice| !evident.contains(voice));
                heard.filter(accuses).collect()
            };
            let is_evident = |suspect: Inc, voices: &BTreeSet<Inc>| {
                let is_mutual = !of(suspect).is_disjoint(voices);
                is_mutual || (voices.len() >= 2 && self.are_apart(voices, suspect))
            };
            let left = suspected.difference(&evident).map(|inc| (*inc, voices(*inc)));
            let worst = left
                .filter(|(inc, voices)| is_evident(*inc, voices))
                .max_by_key(|(inc, voices)| (voices.len(), *inc));
            match worst {
                Some((worst, _)) => evident.insert(worst),
                None => return evident,
            };
        }
    }

    /// True if these are of several zones, or could not be.
    fn are_apart(&self, voices: &BTreeSet<Inc>, suspect: Inc) -> bool {
        let zones = |of: &mut dyn Iterator<Item = (&Inc, &Seat)>| {
            of.map(|(_, seat)| seat.zone.clone()).collect::<BTreeSet<Zone>>().len()
        };
        let voices = zones(&mut self.members.iter().filter(|(inc, _)| voices.contains(inc)));
        let others = zones(&mut self.members.iter().filter(|(inc, _)| **inc != suspect));
        voices > 1 || others < 2
    }

    fn remove_due(&mut self, now_ms: u64) -> Vec<Inc> {
        let settle_ms = self.policy.settle_ms;
        let due = self.evident.iter().filter(|(_, since_ms)| now_ms - **since_ms >= settle_ms);
        let due = due.map(|(inc, since_ms)| (!self.is_counted(*inc), *since_ms, *inc));
        // Those that were named before come first: they may be on their way out.
        let due: Vec<Inc> = due.collect::<BTreeSet<_>>().into_iter().map(|(.., inc)| inc).collect();
        for step in &mut self.steps {
            step.gone.retain(|inc| !due.contains(inc));
        }
        self.steps.retain(|step| !step.gone.is_empty());
        // All that are evident, and not only those that are due: in a cut network they fall silent
        // one after another.
        let is_split = self.evident.len() > minority(self.members.len());
        if is_split {
            self.split_ms = Some(now_ms);
        }
        let meets = self.split_ms.is_some_and(|at_ms| now_ms - at_ms < self.policy.heal_ms);
        let may_remove = if is_split || meets { 0 } else { self.allowance() };
        let (removed, held) = due.split_at(due.len().min(may_remove));
        self.held = held.iter().copied().collect();
        if !removed.is_empty() {
            self.count(self.members.len(), removed.iter().copied().collect(), now_ms);
        }
        removed.to_vec()
    }

    /// How many more may be removed: whenever a window has begun, a minority of the members of then.
    fn allowance(&self) -> usize {
        let mut gone = 0;
        let mut allowance = usize::MAX;
        for step in self.steps.iter().rev() {
            gone += step.gone.len();
            allowance = allowance.min(minority(step.members).saturating_sub(gone));
        }
        allowance.min(minority(self.members.len()))
    }
}

/// How many of so many members may be removed in a window: fewer than half. Of two, one; nobody
/// else is there who could be asked.
const fn minority(members: usize) -> usize {
    match members {
        2 => 1,
        _ => members.saturating_sub(1) / 2,
    }
}

#[cfg(test)]
mod tests;
