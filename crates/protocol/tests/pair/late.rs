//! What arrives after several changes of view: what it says of a slot may be of an ownership that
//! is over.

use protocol::{Envelope, Message};
use session::Inc;

use crate::support::{Net, is_repair};

fn hand(net: &mut Net, hosts: &[usize]) {
    hosts.iter().for_each(|host| net.hand(*host));
}

/// The layout that is being taken up comes into force alone; nobody is told yet.
fn finish(net: &mut Net) {
    let hosts = net.hosts.len();
    net.run_until("everybody has caught up", |net| {
        net.hosts.iter().all(|host| !host.synced.is_empty())
    });
    (0..hosts).for_each(|host| net.report(host));
    assert_eq!(net.view().layouts.len(), 1);
}

/// Tests rules V7 and V9: "the same as you" speaks of what the asker had when it asked, and it may
/// have given that up since.
#[test]
fn a_comparison_that_began_before_a_slot_was_given_up_and_gained_does_not_count() {
    let mut net = Net::agreed(3, 3, 0);
    let key = net.key_owned_by(&[0, 1, 2]);
    net.create(0, key);
    net.settle();
    net.hold_views();
    net.resize(2);
    hand(&mut net, &[0, 1, 2]);
    finish(&mut net);
    let (a, b, c) = (net.inc(0), net.inc(1), net.inc(2));
    net.log.clear();
    net.lose(move |e| e.from == c && is_repair(e));
    let is_root = |message: &Message| matches!(message, Message::Root { .. });
    let begun = |net: &Net, to: Inc| {
        net.log.iter().rfind(|e| e.from == c && e.to == to && is_root(&e.message)).cloned()
    };
    net.run_until("c compares itself with both", |net| {
        begun(net, a).is_some() && begun(net, b).is_some()
    });
    let roots = [(0, begun(&net, a)), (1, begun(&net, b))];
    hand(&mut net, &[0, 1, 2]);
    net.run_ms(100);
    assert!(!net.holds(2, key) && net.holds(0, key), "c does not own it any more");
    net.resize(3);
    hand(&mut net, &[0, 1, 2]);
    for (host, root) in roots {
        net.handle(host, c, root.expect("it began"));
    }
    net.run_ms(20);
    let same = |e: &Envelope| e.to == c && matches!(e.message, Message::Same { .. });
    assert_eq!(net.count(same), 2);
    assert!(!net.node(2).speaks_for(key), "c has nothing of it");
    assert!(net.hosts[2].synced.is_empty());
    net.lose_nothing();
    net.release_views();
    net.settle();
    assert!(net.holds(2, key), "and now it has all of it");
}
