//! Members that go for good, with what they have: what is lost is said to be lost, and no more is.

use protocol::{Decision, Message, Opened, Outcome, View};

use super::views::{fill, holders, keys, speaks_for_all};
use crate::support::{Net, is_repair, key, set};

/// Tests rule V8: a loss is told to everybody.
#[test]
fn the_removal_of_the_last_owner_is_told() {
    let mut net = Net::agreed(3, 1, 0);
    let key = net.key_owned_by(&[0]);
    net.create(0, key);
    net.settle();
    let seen = net.version(0, key);
    let a = net.inc(0);
    net.crash(0);
    net.run_ms(3_000);
    let refused = net.decide(Decision::Remove { inc: a, accept_loss: false });
    assert!(refused.is_err(), "only a has it");
    net.remove(a);
    net.settle();
    for host in [1, 2] {
        assert!(net.hosts[host].lost.contains(&key.slot()));
        assert!(net.node(host).counters().losses_accepted > 0);
        assert_eq!(net.open(host, key, Some(seen.clone())), Opened::NotFound, "it is gone");
    }
    let joined = net.hosts[0].lost.len();
    net.join(0);
    net.settle();
    assert_eq!(net.hosts[0].lost.len(), joined, "whoever comes later has lost nothing");
}

/// Tests rule K3: a write that went with its only holder is named.
#[test]
fn a_write_that_a_removed_owner_took_with_it_is_reported_as_lost() {
    let mut net = Net::agreed(3, 2, 0);
    let key = net.key_owned_by(&[0, 1]);
    net.create(0, key);
    net.settle();
    let a = net.inc(0);
    net.lose(move |e| e.from == a);
    let seen = net.write(0, key, "nobody else has it").version;
    net.crash(0);
    net.run_ms(3_000);
    net.lose_nothing();
    assert_eq!(net.open(2, key, Some(seen.clone())), Opened::Unavailable, "a may come back");
    net.remove(a);
    net.settle();
    for host in [1, 2] {
        let Opened::Session { lost, .. } = net.open(host, key, Some(seen.clone())) else {
            panic!("the rest of it lives")
        };
        assert_eq!(lost.iter().map(|(inc, _)| inc).collect::<Vec<_>>(), [a]);
    }
}

/// Tests rule V11.
#[test]
fn a_removed_process_speaks_no_more() {
    let mut net = Net::agreed(3, 0, 0);
    fill(&mut net);
    let c = net.inc(2);
    let before = net.version(0, key(1));
    net.remove(c);
    assert!(net.hosts[2].removed);
    assert!(keys().all(|key| !net.node(2).speaks_for(key)) && !net.node(2).is_synced());
    let edits = net.edits(2, key(1), vec![set("register", "x")]);
    let ticket = net.ask(2, edits);
    let outcome = net.outcome(2, ticket);
    assert!(matches!(outcome, Outcome::Unknown | Outcome::Unavailable), "{outcome:?}");
    assert_eq!(net.open(2, key(2), None), Opened::Unavailable);
    assert_eq!((net.version(0, key(1)), net.version(2, key(1))), (before.clone(), before));
    let later = net.view().clone();
    net.hand_view(2, View { epoch: later.epoch + 1, ..later });
    assert!(keys().all(|key| !net.node(2).speaks_for(key)), "only another process can");
    net.join(2);
    net.settle();
    assert!(speaks_for_all(net.node(2)));
}

/// Tests rules P1 and V11: the process is another, its slots are the same.
#[test]
fn a_restarted_process_gets_its_slots_back() {
    let mut net = Net::agreed(3, 2, 0);
    fill(&mut net);
    let before: Vec<_> = keys().map(|key| net.owners(0, key)).collect();
    net.crash(0);
    net.run_ms(100);
    net.join(0);
    assert!(keys().all(|key| !net.holds(0, key)));
    net.settle();
    assert!(keys().map(|key| net.owners(0, key)).eq(before));
    assert!(keys().all(|key| holders(&net, key) == 2));
    assert!(net.view().losses.is_empty());
}

/// Tests rules N2 and V12: who leaves may be gone before the edits arrive, and then nobody knows what
/// became of them.
#[test]
fn edits_are_forwarded_to_an_owner_that_stays() {
    let mut net = Net::agreed(3, 2, 0);
    let key = net.key_owned_by(&[0, 1]);
    net.create(0, key);
    net.settle();
    net.hold_views();
    net.lose(is_repair);
    net.drain_member(0);
    (0..3).for_each(|host| net.hand(host));
    assert!(!net.node(2).speaks_for(key) && net.owners(2, key)[0] == 0);
    net.log.clear();
    let edits = net.edits(1, key, vec![set("register", "x")]);
    net.commit(2, edits);
    let forwarded = |net: &Net, host| {
        let inc = net.inc(host);
        net.count(|e| e.to == inc && matches!(e.message, Message::Forward { .. }))
    };
    assert_eq!((forwarded(&net, 0), forwarded(&net, 1)), (0, 1));
    net.cut(1, 2);
    net.run_ms(3_000);
    let edits = net.edits(1, key, vec![set("register", "y")]);
    net.commit(2, edits);
    assert_eq!(forwarded(&net, 0), 1, "nobody else answers");
}
