//! Tables of who reports whom and who goes, and a walk through all that may happen.

use proptest::prelude::*;
use protocol::Copies;

use super::*;

const POLICY: SuspectPolicy = SuspectPolicy {
    settle_ms: 2_000,
    report_ms_max: 2_000,
    heal_ms: 6_000,
    window_ms: 30_000,
    quarantine_ms_min: 10_000,
    quarantine_ms_max: 600_000,
    forget_ms: 600_000,
    life_ms_min: 30_000,
};

/// Between two looks of the leader.
const LOOK_MS: u64 = 250;

fn member(inc: u64, zone: &str) -> Member {
    let name = MemberName::from(&*format!("n{inc}"));
    Member { inc: Some(Inc(inc)), zone: zone.into(), ..Member::unheard(name) }
}

fn view(epoch: u64, members: Vec<Member>) -> View {
    View { generation: 1, epoch, members, ..View::fixed([], Copies::All) }
}

/// Members 1, 2, … in these zones.
fn view_of(zones: &[&str]) -> View {
    view(1, (1..).zip(zones).map(|(inc, zone)| member(inc, zone)).collect())
}

fn incs(incs: &[u64]) -> BTreeSet<Inc> {
    incs.iter().map(|inc| Inc(*inc)).collect()
}

/// Who suspects whom.
type Reports<'a> = &'a [(u64, &'a [u64])];

/// Member 1 leads, and all report this again and again; who is removed by `until_ms`, and when.
fn run(
    suspects: &mut Suspects,
    view: &View,
    reports: Reports<'_>,
    from_ms: u64,
    until_ms: u64,
) -> Vec<(u64, u64)> {
    let mut removed = Vec::new();
    for now_ms in (from_ms..=until_ms).step_by(LOOK_MS as usize) {
        for (reporter, list) in reports {
            suspects.handle_report(Inc(*reporter), incs(list), now_ms);
        }
        for inc in suspects.decide(view, Inc(1), 1, now_ms) {
            if !removed.iter().any(|(_, known)| *known == inc.0) {
                removed.push((now_ms, inc.0));
            }
        }
    }
    removed
}

/// Who is removed, all at the same moment, in ten seconds of the same reports.
fn removed(zones: &[&str], reports: Reports<'_>) -> Vec<u64> {
    let view = view_of(zones);
    let mut suspects = Suspects::new(POLICY);
    suspects.handle_view(&view, 0);
    let mut removed: Vec<u64> =
        run(&mut suspects, &view, reports, 0, 10_000).into_iter().map(|(_, inc)| inc).collect();
    removed.sort_unstable();
    removed
}

/// Tests rule D5.
#[test]
fn who_is_removed() {
    let five = &["z"; 5][..];
    let zones = &["x", "x", "x", "y", "y"][..];
    let alone = &["x", "x", "x", "x", "y"][..];
    let cases: &[(&str, &[&str], Reports<'_>, &[u64])] = &[
        ("nobody is suspected", five, &[(1, &[]), (2, &[])], &[]),
        ("the leader's word is enough", five, &[(1, &[3])], &[3]),
        ("the word of another is not", five, &[(2, &[3])], &[]),
        ("that of two others is", five, &[(2, &[3]), (4, &[3])], &[3]),
        ("several go in one step", five, &[(1, &[3]), (2, &[3, 5]), (4, &[5])], &[3, 5]),
        ("two of one zone do not suffice", zones, &[(2, &[4]), (3, &[4])], &[]),
        ("two of two zones do", zones, &[(2, &[4]), (5, &[4])], &[4]),
        ("if all others are of one zone, two of it", alone, &[(2, &[5]), (3, &[5])], &[5]),
        ("the leader does not go", five, &[(2, &[1]), (3, &[1]), (4, &[1])], &[]),
        ("of a pair that suspects each other the later", five, &[(2, &[3]), (3, &[2])], &[3]),
        ("or the one that more suspect", five, &[(2, &[3]), (3, &[2]), (4, &[2]), (5, &[])], &[2]),
        ("a pair with the leader", five, &[(1, &[2]), (2, &[1])], &[2]),
        (
            "of two pairs that do not hear each other one goes",
            five,
            &[(2, &[4, 5]), (3, &[4, 5]), (4, &[2, 3]), (5, &[2, 3])],
            &[4, 5],
        ),
        ("two pairs in two zones", zones, &[(2, &[4]), (3, &[4]), (4, &[2, 3])], &[4]),
        (
            "whom the leader does not hear, nobody hears",
            five,
            &[(1, &[4]), (4, &[2]), (5, &[])],
            &[4],
        ),
        ("strangers count nothing", five, &[(8, &[3]), (9, &[3]), (2, &[7]), (3, &[7])], &[]),
        ("of two members the other", &["z"; 2], &[(1, &[2])], &[2]),
        ("of three not both others", &["z"; 3], &[(1, &[2, 3])], &[]),
        ("half of four is no minority", &["z"; 4], &[(1, &[3, 4])], &[]),
        ("two of five are", five, &[(1, &[4, 5])], &[4, 5]),
        ("three of five are not", five, &[(1, &[3, 4, 5])], &[]),
        ("alone", &["z"], &[(1, &[1])], &[]),
    ];
    for (what, zones, reports, expected) in cases {
        assert_eq!(removed(zones, reports), *expected, "{what}");
    }
}

fn fresh(view: &View) -> Suspects {
    let mut suspects = Suspects::new(POLICY);
    suspects.handle_view(view, 0);
    suspects
}

/// Tests rule D5.
#[test]
fn bound_settle_ms() {
    let view = view_of(&["z"; 5]);
    let mut suspects = fresh(&view);
    assert_eq!(run(&mut suspects, &view, &[(1, &[3])], 0, 1_750), []);
    assert_eq!(run(&mut suspects, &view, &[(1, &[])], 1_800, 1_800), [], "it is heard again");
    let again = run(&mut suspects, &view, &[(1, &[3])], 2_000, 9_000);
    assert_eq!(again, [(2_000 + POLICY.settle_ms, 3)]);
}

/// Tests rule D5: one report, however often it is looked at, removes nobody.
#[test]
fn bound_report_ms() {
    let view = view_of(&["z"; 5]);
    let mut suspects = fresh(&view);
    for reporter in [2, 4] {
        suspects.handle_report(Inc(reporter), incs(&[3]), 0);
    }
    assert_eq!(run(&mut suspects, &view, &[], 0, POLICY.settle_ms + 5_000), []);
    // With an age beyond the time to settle it would; so that is not used.
    let mut suspects = Suspects::new(SuspectPolicy { report_ms_max: 60_000, ..POLICY });
    suspects.handle_view(&view, 0);
    for reporter in [2, 4] {
        suspects.handle_report(Inc(reporter), incs(&[3]), 0);
    }
    assert_eq!(run(&mut suspects, &view, &[], 0, 59_000), []);
}

/// Tests rule D5.
#[test]
fn a_later_report_replaces_the_one_before() {
    let view = view_of(&["z"; 5]);
    let mut suspects = fresh(&view);
    let mut at = |now_ms, two: &[u64]| {
        suspects.handle_report(Inc(2), incs(two), now_ms);
        suspects.handle_report(Inc(4), incs(&[3]), now_ms);
        suspects.decide(&view, Inc(1), 1, now_ms)
    };
    assert_eq!(at(0, &[3]), []);
    assert_eq!(at(1_000, &[]), []);
    assert_eq!(at(2_000, &[3]), []);
    assert_eq!(at(3_000, &[3]), []);
    assert_eq!(at(4_000, &[3]), [Inc(3)]);
}

/// Tests rule D5.
#[test]
fn after_a_change_of_leader_evidence_begins_anew() {
    let view = view_of(&["z"; 5]);
    let mut suspects = fresh(&view);
    let mut at = |now_ms, term, me: &[u64], others: &[u64]| {
        suspects.handle_report(Inc(1), incs(me), now_ms);
        for reporter in others {
            suspects.handle_report(Inc(*reporter), incs(&[3]), now_ms);
        }
        suspects.decide(&view, Inc(1), term, now_ms)
    };
    assert_eq!(at(0, 1, &[3], &[]), []);
    assert_eq!(at(1_000, 2, &[3], &[2, 4]), [], "another led in between");
    assert_eq!(at(2_000, 2, &[3], &[]), []);
    assert_eq!(at(3_000, 2, &[3], &[]), [Inc(3)]);
    // What others had told before it led again is told again, or counts nothing.
    assert_eq!(at(4_000, 2, &[], &[2, 4]), [Inc(3)], "it is in the view still");
    assert_eq!(at(4_100, 3, &[], &[]), []);
    assert_eq!(at(5_000, 3, &[], &[2, 4]), []);
    assert_eq!(at(6_500, 3, &[], &[2, 4]), []);
    assert_eq!(at(7_000, 3, &[], &[2, 4]), [Inc(3)]);
}

/// Tests rule D5: a leader that was suspended does not know that it would have heard nothing.
#[test]
fn what_was_not_looked_at_was_not_without_a_break() {
    let view = view_of(&["z"; 5]);
    let mut suspects = fresh(&view);
    let mut at = |now_ms| {
        suspects.handle_report(Inc(1), incs(&[3]), now_ms);
        suspects.decide(&view, Inc(1), 1, now_ms)
    };
    assert_eq!(at(0), []);
    assert_eq!(at(5_000), []);
    assert_eq!(at(6_000), []);
    assert_eq!(at(7_000), [Inc(3)]);
}

/// The view without these.
fn without(before: &View, gone: &[u64]) -> View {
    let gone = incs(gone);
    let mut view = before.clone();
    view.epoch += 1;
    view.members.retain(|member| !gone.contains(&member.inc.unwrap()));
    view
}

/// Tests rule D5.
#[test]
fn bound_window_ms() {
    let five = view_of(&["z"; 5]);
    let mut suspects = fresh(&five);
    let first = run(&mut suspects, &five, &[(1, &[4, 5])], 0, 2_250);
    assert_eq!(first, [(2_000, 4), (2_000, 5)], "two of five");
    let three = without(&five, &[4, 5]);
    let second = run(&mut suspects, &three, &[(1, &[3])], 2_500, 40_000);
    let last_named_ms = 2_250;
    assert_eq!(second, [(last_named_ms + POLICY.window_ms, 3)], "a third in the next window");
    assert_eq!(suspects.held(), &BTreeSet::new());
}

/// Tests rule D5: the moments at which members fall silent in a cut network lie apart.
#[test]
fn a_half_that_falls_silent_bit_by_bit_is_held() {
    let view = view_of(&["z"; 6]);
    let mut suspects = fresh(&view);
    assert_eq!(run(&mut suspects, &view, &[(1, &[4])], 0, 500), []);
    assert_eq!(run(&mut suspects, &view, &[(1, &[4, 5])], 750, 1_000), []);
    assert_eq!(run(&mut suspects, &view, &[(1, &[4, 5, 6])], 1_250, 90_000), []);
    assert_eq!(suspects.held(), &incs(&[4, 5, 6]));
    // One of them is back: the others are a minority, and may be about to come back as well.
    let rest = run(&mut suspects, &view, &[(1, &[5, 6])], 90_250, 96_000);
    assert_eq!(rest, [(96_000, 5), (96_000, 6)]);
    assert_eq!(suspects.held(), &BTreeSet::new());
}

/// Tests rule D5: halves that meet again hear each other one after another.
#[test]
fn bound_heal_ms() {
    let view = view_of(&["z"; 4]);
    let mut suspects = fresh(&view);
    assert!(run(&mut suspects, &view, &[(1, &[3, 4])], 0, 10_000).is_empty(), "a half is held");
    let met = run(&mut suspects, &view, &[(1, &[4]), (3, &[])], 10_250, 15_750);
    assert!(met.is_empty(), "and so is its last one, for a while");
    let later = run(&mut suspects, &view, &[(1, &[4]), (3, &[])], 16_000, 16_250);
    assert_eq!(later, [(16_000, 4)], "but not for ever");
}

/// Tests rule D5: who leads next counts what its predecessor has removed, but not who has left.
#[test]
fn removals_of_an_earlier_leader_count() {
    let seven = view_of(&["z"; 7]);
    let mut suspects = fresh(&seven);
    suspects.handle_view(&without(&seven, &[5, 6]), 1_000);
    let five = without(&without(&seven, &[5, 6]), &[]);
    let one_more = run(&mut suspects, &five, &[(1, &[3, 4])], 1_250, 9_000);
    assert_eq!(one_more, [(3_250, 3)], "three of seven");
    assert_eq!(suspects.held(), &incs(&[4]));
    let mut draining = seven.clone();
    draining.members[5].leaving = true;
    let mut suspects = fresh(&draining);
    let five = without(&draining, &[5, 6]);
    suspects.handle_view(&five, 1_000);
    assert_eq!(run(&mut suspects, &five, &[(1, &[3, 4])], 1_250, 9_000).len(), 2, "one has left");
}

/// Tests rule D5.
#[test]
fn a_cluster_made_anew_has_removed_nobody() {
    let five = view_of(&["z"; 5]);
    let mut suspects = fresh(&five);
    let mut anew = without(&five, &[4, 5]);
    anew.generation = 2;
    suspects.handle_view(&anew, 1_000);
    suspects.handle_view(&five, 1_100);
    assert_eq!(run(&mut suspects, &anew, &[(1, &[2])], 1_250, 9_000), [(3_250, 2)]);
    assert_eq!(suspects.wait_to_join(&"n4".into(), 9_000), None);
}

/// Tests rule D5: nothing that is told takes more than what the view has.
#[test]
fn bound_reports() {
    let view = view_of(&["z"; 3]);
    let mut suspects = fresh(&view);
    for reporter in 0..10_000 {
        suspects.handle_report(Inc(reporter), (0..100).map(Inc).collect(), 5);
    }
    assert_eq!(suspects.reports.len(), 3);
    assert!(suspects.reports.values().all(|report| report.suspects.len() == 3));
    suspects.handle_view(&without(&view, &[3]), 6);
    assert_eq!(suspects.reports.len(), 2);
    assert!(suspects.reports.values().all(|report| report.suspects.len() == 2));
}

/// One name that joins and is removed, again and again.
struct Flapping {
    suspects: Suspects,
    view: View,
    inc: u64,
}

impl Flapping {
    fn new() -> Self {
        let view = view_of(&["z"; 3]);
        Self { suspects: fresh(&view), view, inc: 3 }
    }

    fn change(&mut self, now_ms: u64, change: impl FnOnce(&mut Vec<Member>)) {
        self.view.epoch += 1;
        change(&mut self.view.members);
        self.suspects.handle_view(&self.view, now_ms);
    }

    fn gone(&mut self, now_ms: u64) {
        self.change(now_ms, |members| members.truncate(2));
    }

    fn joins(&mut self, now_ms: u64) {
        self.inc += 1;
        let next = Member { inc: Some(Inc(self.inc)), ..member(3, "z") };
        self.change(now_ms, |members| {
            members.truncate(2);
            members.push(next);
        });
    }

    fn wait_ms(&self, now_ms: u64) -> Option<u64> {
        self.suspects.wait_to_join(&"n3".into(), now_ms)
    }
}

/// Tests rule D6.
#[test]
fn bound_quarantine_ms() {
    let mut node = Flapping::new();
    let mut now_ms = 1_000;
    let mut waits = Vec::new();
    for _ in 0..10 {
        node.gone(now_ms);
        let wait_ms = node.wait_ms(now_ms).unwrap_or(0);
        waits.push(wait_ms / 1_000);
        assert_eq!(node.wait_ms(now_ms + wait_ms), None);
        assert!(wait_ms == 0 || node.wait_ms(now_ms + wait_ms - 1) == Some(1));
        now_ms += wait_ms;
        node.joins(now_ms);
        now_ms += 5_000;
    }
    assert_eq!(waits, [0, 10, 20, 40, 80, 160, 320, 600, 600, 600]);
    assert_eq!(node.wait_ms(0), node.wait_ms(now_ms), "the clock does not go back");
    assert_eq!(node.suspects.wait_to_join(&"n2".into(), now_ms), None);
}

/// Tests rule D6.
#[test]
fn bound_forget_ms() {
    for (good_ms, wait) in [(POLICY.forget_ms - 1, Some(20_000)), (POLICY.forget_ms, None)] {
        let mut node = Flapping::new();
        node.gone(1_000);
        node.joins(1_000);
        node.gone(2_000);
        node.joins(12_000);
        node.gone(12_000 + good_ms);
        assert_eq!(node.wait_ms(12_000 + good_ms), wait, "after {good_ms} ms");
    }
}

/// Tests rule D6: killed and started again is no flapping; crashing at the start is.
#[test]
fn bound_life_ms() {
    for (life_ms, wait) in [(POLICY.life_ms_min, None), (POLICY.life_ms_min - 1, Some(20_000))] {
        let mut node = Flapping::new();
        for round in 1..5 {
            node.joins(round * life_ms);
        }
        assert_eq!(node.wait_ms(4 * life_ms), wait, "of {life_ms} ms");
    }
}

/// Tests rule D6.
#[test]
fn who_leaves_in_order_comes_back_at_once() {
    let mut node = Flapping::new();
    for round in 1..9 {
        node.change(round * 1_000, |members| members[2].leaving = true);
        node.gone(round * 1_000 + 100);
        assert_eq!(node.wait_ms(round * 1_000 + 100), None);
        node.joins(round * 1_000 + 200);
    }
}

#[derive(Clone, Debug)]
enum Move {
    Report(u8, u8),
    Decide(bool),
    Join,
    Leave(u8),
    NextTerm,
    Time(i16),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        20 => (any::<u8>(), any::<u8>()).prop_map(|(who, whom)| Move::Report(who, whom)),
        20 => any::<bool>().prop_map(Move::Decide),
        1 => Just(Move::Join),
        1 => any::<u8>().prop_map(Move::Leave),
        1 => Just(Move::NextTerm),
        20 => (-300_i16..1_500).prop_map(Move::Time),
    ];
    prop::collection::vec(one, 0..400)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Tests rules D5 and D6: whatever is reported and whoever comes and goes, the leader stays,
    /// only members that somebody suspects go, and from no moment on more than a minority of the
    /// members of then within a window. No report that a moment brings removes somebody at once.
    #[test]
    fn never_the_leader_and_never_a_majority_in_a_window(
        zones in prop::collection::vec(0_u8..3, 1..9),
        moves in moves(),
    ) {
        let mut members: Vec<Member> =
            (1..).zip(&zones).map(|(inc, zone)| member(inc, &zone.to_string())).collect();
        let (mut epoch, mut term, mut clock, mut latest) = (1, 1, 100_000_u64, 100_000_u64);
        let mut suspects = Suspects::new(POLICY);
        suspects.handle_view(&view(epoch, members.clone()), clock);
        // When how many members were there, and how many of them were removed.
        let mut log: Vec<(u64, usize, usize)> = Vec::new();
        let mut first_named: BTreeMap<Inc, u64> = BTreeMap::new();
        for step in moves {
            let pick = |number: u8| members[usize::from(number) % members.len()].inc.unwrap();
            // What it has seen of the clock is the latest of all calls.
            latest = match step {
                Move::Report(..) | Move::Decide(_) | Move::Leave(_) => latest.max(clock),
                Move::Join | Move::NextTerm | Move::Time(_) => latest,
            };
            match step {
                Move::Time(ms) => clock = clock.saturating_add_signed(i64::from(ms)),
                Move::Report(who, mask) => {
                    let bits = members.iter().enumerate().filter(|(n, _)| mask >> (n % 8) & 1 == 1);
                    let list: BTreeSet<Inc> = bits.filter_map(|(_, member)| member.inc).collect();
                    list.iter().for_each(|inc| { first_named.entry(*inc).or_insert(latest); });
                    suspects.handle_report(pick(who), list, clock);
                }
                Move::Decide(is_made) => {
                    let me = members[0].inc.unwrap();
                    let gone = suspects.decide(&view(epoch, members.clone()), me, term, clock);
                    prop_assert!(!gone.contains(&me));
                    prop_assert!(gone.iter().all(|inc| !suspects.held().contains(inc)));
                    for inc in gone.iter().filter(|_| is_made) {
                        let present = members.len();
                        members.retain(|member| member.inc != Some(*inc));
                        prop_assert_eq!(present, members.len() + 1, "a member, named once");
                        prop_assert!(latest - first_named[inc] >= POLICY.settle_ms);
                        log.push((latest, present, 1));
                    }
                    epoch += u64::from(is_made && !gone.is_empty());
                }
                Move::Join => {
                    epoch += 1;
                    members.push(member(epoch + 1_000, "0"));
                }
                Move::Leave(number) => {
                    let whose = usize::from(number) % members.len();
                    epoch += 1;
                    members[whose].leaving = whose > 0;
                    suspects.handle_view(&view(epoch, members.clone()), clock);
                    epoch += 1;
                    members.retain(|member| !member.leaving);
                }
                Move::NextTerm => term += 1,
            }
        }
        for (from, present, _) in &log {
            let within = log.iter().filter(|(at, ..)| at >= from && at - from < POLICY.window_ms);
            let first_of_moment = log.iter().find(|(at, ..)| at == from).unwrap().1;
            prop_assert!(within.count() <= minority(first_of_moment), "of {}: {:?}", present, log);
        }
    }
}
