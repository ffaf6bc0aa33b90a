//! Decisions, and what comes of them.

mod any_order;

use std::num::NonZeroU16;

use super::*;

const SLOTS: u16 = 32;

fn copies(count: u16) -> Copies {
    NonZeroU16::new(count).map_or(Copies::All, Copies::Count)
}

fn join(name: &str, start: u64) -> Decision {
    join_of(name, start, crate::wire::WIRE_VERSION)
}

fn join_of(name: &str, start: u64, version: u8) -> Decision {
    let (address, zone) = (SmolStr::default(), Zone::default());
    Decision::Join { name: name.into(), address, zone, start, version }
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
        log.ok(Decision::Begin {
            generation: 1,
            copies: copies(count),
            protocol: crate::wire::WIRE_VERSION,
        });
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
    log.refuses(
        Decision::Begin { generation: 0, copies: copies(2), protocol: crate::wire::WIRE_VERSION },
        Refused::Late,
    );
    log.ok(Decision::Begin {
        generation: 1,
        copies: copies(2),
        protocol: crate::wire::WIRE_VERSION,
    });
    log.refuses(
        Decision::Begin { generation: 2, copies: copies(2), protocol: crate::wire::WIRE_VERSION },
        Refused::OutOfPlace,
    );
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
    log.ok(Decision::Begin {
        generation: 1,
        copies: copies(1),
        protocol: crate::wire::WIRE_VERSION,
    });
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

fn join_speaking(name: &str, version: u8) -> Decision {
    join_of(name, u64::from(version), version)
}

/// Tests rule W2: a later version is spoken once every member speaks it, and then whoever does not
/// is let in no more.
#[test]
fn a_later_version_of_the_wire_is_agreed_upon() {
    let mut log = Log::new();
    let begin = |protocol| Decision::Begin { generation: 1, copies: copies(2), protocol };
    log.ok(begin(3));
    log.ok(join_speaking("a", 4));
    log.ok(join_speaking("b", 3));
    log.ok(join_speaking("c", 5));
    assert_eq!((log.roster.view.protocol, log.roster.view.possible_protocol()), (3, 3));
    let raise = |version| Decision::SetProtocol { version };
    log.refuses(raise(4), Refused::NotSpoken(vec!["b".into()]));
    log.refuses(raise(5), Refused::NotSpoken(vec!["a".into(), "b".into()]));
    log.refuses(raise(3), Refused::NoNews);
    log.ok(join_speaking("b", 4));
    log.ok(raise(4));
    assert_eq!((log.roster.view.protocol, log.roster.view.possible_protocol()), (4, 4));
    log.refuses(raise(3), Refused::Late);
    log.refuses(join_speaking("d", 3), Refused::Downgrade(4));
    log.refuses(join_speaking("b", 3), Refused::Downgrade(4));
    log.ok(join_speaking("d", 9));
    log.ok(recover(2, [log.inc("a")]));
    assert_eq!(log.roster.view.protocol, 4, "also in what is made anew from it");
}
