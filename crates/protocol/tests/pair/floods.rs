//! More messages than anybody should send: what is remembered and done for one peer is bounded.

use protocol::limits::{ANSWERS_MAX, FORWARDS_PER_PEER_MAX, LOADS_PER_PEER_MAX};
use protocol::{Ack, Batch, Commit, Envelope, Life, Message, Opened, Outcome};
use session::{Hlc, Inc, Stamp, Version};

use crate::support::{FIXED, Net, START, envelope, is_deltas, is_repair, key, set};

/// Two nodes with a session.
fn pair() -> Net {
    let mut net = Net::synced(2);
    net.create_everywhere(0, key(1));
    net.lose(|e| is_deltas(e) || is_repair(e));
    net
}

/// A hundred thousand messages of `b`, while `a` sends nothing.
fn flood(net: &mut Net, message: impl Fn(u64) -> Message) {
    let (a, b, now) = (net.inc(0), net.inc(1), net.now);
    for number in 1..=100_000 {
        net.hosts[0].handle(b, envelope(FIXED, b, a, message(number)), now);
    }
}

/// Tests rule B4: questions cost the one who asks; what waits for it is bounded.
#[test]
fn bound_answers_max() {
    let mut net = pair();
    let questions: [fn(u64) -> Message; 4] = [
        |request| Message::Fetch { request, key: key(1) },
        |request| Message::Need { request, wants: vec![(key(1), Version::new())] },
        |round| Message::Compare { round, slot: key(1).slot(), after: None },
        |number| Message::Deltas(Batch { number, deltas: Vec::new() }),
    ];
    for question in questions {
        net.log.clear();
        let dropped = net.node(0).counters().answers_dropped;
        flood(&mut net, question);
        net.drain(0);
        assert_eq!(net.log.len(), ANSWERS_MAX);
        let dropped = net.node(0).counters().answers_dropped - dropped;
        assert_eq!(dropped as usize, 100_000 - ANSWERS_MAX);
    }
}

/// `b` forwards edits without end that build on what nobody has.
fn flood_with_forwards(net: &mut Net) {
    let (deadline, at) =
        (net.now.plus(5_000), Version::from(Stamp { hlc: Hlc::at(net.now), inc: Inc(9) }));
    flood(net, |request| {
        let commit = Commit {
            key: key(1),
            life: Life::Keep,
            at: at.clone(),
            edits: vec![set("register", "x")],
            level: Ack::All,
        };
        Message::Forward { request, deadline, commit }
    });
}

/// Tests rules F1 and F2: a node does not remember or work on more than the share of one peer.
#[test]
fn bound_loads_per_peer_and_forwards_per_peer() {
    let mut net = pair();
    flood_with_forwards(&mut net);
    let (loads, _, forwards) = net.node(0).waiting();
    assert_eq!((loads, forwards), (LOADS_PER_PEER_MAX, FORWARDS_PER_PEER_MAX));
    net.drain(0);
    assert!(net.session(0, key(1)).is_some());
    net.run_ms(70_000);
    assert_eq!(net.node(0).waiting().2, 0, "all is forgotten after the deadline");
}

/// Tests rule F2: requests of this node and of other members go on meanwhile, those that wait for
/// copies as well.
#[test]
fn a_peer_that_forwards_without_end_is_in_nobodys_way() {
    let mut net = Net::synced(3);
    net.create_everywhere(0, key(1));
    flood_with_forwards(&mut net);
    net.drain(0);
    let (a, c) = (net.inc(0), net.inc(2));
    net.lose(move |e| e.from == c && (is_deltas(e) || is_repair(e)));
    let seen = net.write(2, key(1), "of c").version;
    let at = seen.clone();
    let edits = Commit { at, ..net.edits(0, key(1), vec![set("other", "of c, through a")]) };
    net.inject(2, 0, Message::Forward { request: 1, deadline: net.now.plus(5_000), commit: edits });
    let executed = |e: &Envelope| {
        matches!(&e.message, Message::Forwarded { request: 1, outcome: Some(Outcome::Done(_)) })
            && (e.from, e.to) == (a, c)
    };
    net.run_until("a has answered c", |net| net.count(executed) == 1);
    let seen_again = net.write(2, key(1), "of c again").version;
    assert!(matches!(net.open(0, key(1), Some(seen_again)), Opened::Session { .. }));
    assert!(net.now.since(START) < 5_000, "nobody's deadline has passed");
}
