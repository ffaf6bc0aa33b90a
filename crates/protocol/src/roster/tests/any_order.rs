//! Any sequence of decisions, against a model that follows the data and not the log.

use proptest::prelude::*;

use super::*;

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
    SetProtocol(u8),
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
        1 => (0_u8..4).prop_map(Move::SetProtocol),
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
            super::join_of(&name.to_string(), start, 3 + name % 3)
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
        Move::SetProtocol(more) => Decision::SetProtocol { version: 3 + more },
        Move::Late => Decision::Begin { generation: 9, copies: copies(1), protocol: 3 },
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
    /// refusal changes anything, and every transition ends. Rule W2: all members speak what is agreed.
    #[test]
    fn any_sequence_of_decisions_keeps_the_invariants(moves in moves()) {
        let mut log = Log::new();
        log.ok(Decision::Begin { generation: 1, copies: copies(2), protocol: 3 });
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
            prop_assert!(before.protocol <= view.protocol, "it only grows");
            prop_assert!(view.members.iter().all(|member| member.version >= view.protocol));
            check(view);
            let reported = match decision {
                Decision::Synced { inc, epoch } => Some((inc, epoch)),
                Decision::Begin { .. }
                | Decision::Join { .. }
                | Decision::Drain { .. }
                | Decision::Remove { .. }
                | Decision::Resize { .. }
                | Decision::Recover { .. }
                | Decision::SetProtocol { .. } => None,
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
