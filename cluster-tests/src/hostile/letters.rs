//! What a liar writes of membership.

use std::collections::BTreeMap;

use membership::bootstrap::Standing;
use membership::{Chart, Letter, News, Place, RaftId};
use protocol::wire::{Frame, WIRE_VERSION};
use session::Inc;

/// The voter that it says it is.
const OWN_VOTER: RaftId = RaftId(0x11e5);

/// By so much the epochs of the future are ahead.
const AHEAD: u64 = 1_000;

fn frame(letter: &Letter) -> Vec<u8> {
    Frame::Letter(letter.to_bytes(WIRE_VERSION)).encode(WIRE_VERSION)
}

/// The chart, please; and requests of Raft that are none.
pub(super) fn that_ask(nth: u64) -> Vec<u8> {
    if nth.is_multiple_of(2) {
        return frame(&Letter::WantChart);
    }
    frame(&Letter::Ask { number: nth, request: vec![u8::MAX; 64] })
}

/// The cluster consists of the liar alone, it says: as an operator would have made it anew, or as
/// its voters would have decided. It asks what there is first, so as to lie well.
pub(super) fn that_lie(own: Inc, known: Option<&Chart>, nth: u64) -> Vec<u8> {
    let Some(known) = known else { return frame(&Letter::WantChart) };
    let chart = alone(own, known, nth.is_multiple_of(2));
    if nth % 4 < 2 {
        return frame(&Letter::Chart(Box::new(chart)));
    }
    // Whoever believes it asks for the chart, if it was not heeded by itself.
    let standing = Standing::Inside(chart.group);
    // Another directory each time, or it would be taken for what was under way for long.
    let directory = Some((RaftId(OWN_VOTER.0 + nth), standing));
    let news = News { directory, seen: Some(chart.seen()), leads: true, ..News::default() };
    frame(&Letter::News(news))
}

fn alone(own: Inc, known: &Chart, is_made_anew: bool) -> Chart {
    let mut chart = known.clone();
    let view = &mut chart.view;
    view.epoch += AHEAD;
    view.members.retain(|member| member.inc == Some(own));
    for layout in &mut view.layouts {
        layout.members.retain(|member| member.inc == Some(own));
    }
    let zone = view.members.first().map(|member| member.zone.clone()).unwrap_or_default();
    if let Some(member) = view.members.first() {
        chart.voters = BTreeMap::from([(OWN_VOTER, Place { name: member.name.clone(), zone })]);
    }
    if is_made_anew {
        chart.view.generation += 1;
        chart.group.generation += 1;
        chart.group.founder = OWN_VOTER;
    }
    chart.voters_at = chart.view.epoch;
    chart
}

/// One that somebody could have been told.
#[cfg(test)]
pub(super) fn chart() -> Chart {
    use membership::Group;
    use protocol::{Copies, Decision, Roster, Rules};

    let mut roster = Roster::new(16, Rules::default());
    let join = |name: &str| Decision::Join {
        name: name.into(),
        address: "127.0.0.1:7001".into(),
        zone: "".into(),
        start: 5,
        version: WIRE_VERSION,
    };
    let begin = Decision::Begin { generation: 1, copies: Copies::All, protocol: WIRE_VERSION };
    for (decision, index) in [begin, join("a"), join("b"), join("c")].iter().zip(1..) {
        roster.apply(index, decision).unwrap();
    }
    let place = Place { name: "a".into(), zone: "".into() };
    Chart {
        group: Group { generation: 1, founder: RaftId(7) },
        view: roster.view().clone(),
        voters: BTreeMap::from([(RaftId(7), place)]),
        voters_at: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A lie that is refused for being out of order shows nothing.
    #[test]
    fn a_lie_is_sound_and_later_than_what_is_known() {
        let known = chart();
        for is_made_anew in [false, true] {
            let lie = alone(Inc(4), &known, is_made_anew);
            assert!(lie.is_sound() && lie.seen() > known.seen());
            assert_eq!(lie.view.members.len(), 1);
            assert_eq!(lie.group == known.group, !is_made_anew);
        }
    }
}
