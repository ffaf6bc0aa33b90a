//! What is lost with an accepted loss, and what is left: no version claims what is gone.

use protocol::{Batch, Message, Opened, Outcome};
use session::{Delta, Inc, SessionKey, State, Version};

use crate::support::{Net, set};

/// A key whose owners come in this order once all these hosts are members.
fn key_ranked(hosts: &[usize]) -> SessionKey {
    Net::agreed(hosts.len(), 0, 0).key_owned_by(hosts)
}

/// A session of two writes by host 0, which gave it up to the newcomers; they died, and host 0 owns
/// it again. A copy of the time before its last write is on its way; it is returned, with the
/// session as the client has seen it.
fn lost_after_it_was_given_up(
    net: &mut Net,
    key: SessionKey,
    newcomers: &[usize],
) -> (Delta, Version) {
    net.create(0, key);
    let old = net.session(0, key).expect("it was made").extract(key, &Version::new());
    let seen = net.write(0, key, "lost").version;
    net.settle();
    newcomers.iter().for_each(|host| net.join(*host));
    net.settle();
    assert!(!net.holds(0, key) && net.owners(0, key) == newcomers, "it is theirs now");
    let gone: Vec<Inc> = newcomers.iter().map(|host| net.inc(*host)).collect();
    newcomers.iter().for_each(|host| net.crash(*host));
    gone.iter().for_each(|inc| net.remove(*inc));
    net.settle();
    assert!(!net.view().losses.is_empty() && net.node(0).speaks_for(key));
    (old, seen)
}

fn arrives(net: &mut Net, to: usize, delta: &Delta) {
    let from = 1 - to;
    net.inject(from, to, Message::Deltas(Batch { number: 1_000, deltas: vec![delta.clone()] }));
}

/// Tests rules V9 and K3: who wrote what is lost does not stamp what is left, or its version would
/// claim the lost write; another owner does, and the client is told.
#[test]
fn what_was_lost_after_it_was_given_up_is_claimed_by_nobody() {
    let mut net = Net::agreed(2, 2, 2);
    let key = key_ranked(&[2, 3, 0, 1]);
    let (old, seen) = lost_after_it_was_given_up(&mut net, key, &[2, 3]);
    arrives(&mut net, 0, &old);
    arrives(&mut net, 1, &old);
    let (a, b) = (net.inc(0), net.inc(1));
    let before = net.version(0, key);
    let edits = net.edits(0, key, vec![set("register", "new")]);
    let after = net.commit(0, edits).version;
    assert_eq!(after.get(a), before.get(a), "it does not stamp it");
    assert!(after.get(b).is_some(), "the other owner did");
    let Opened::Session { lost, .. } = net.open(0, key, Some(seen.clone())) else {
        panic!("it lives")
    };
    assert_eq!(lost.get(a), seen.get(a), "what the client has seen is lost, and it learns so");
}

/// Tests rule V9: if nobody else is there to stamp it, it ends; its user would be refused for as
/// long as it lives.
#[test]
fn what_nobody_may_stamp_after_a_loss_ends() {
    let mut net = Net::agreed(2, 1, 1);
    let key = key_ranked(&[2, 0, 1]);
    let (old, _) = lost_after_it_was_given_up(&mut net, key, &[2]);
    arrives(&mut net, 0, &old);
    assert!(matches!(net.open(0, key, None), Opened::Session { .. }), "it can be read");
    let edits = net.edits(0, key, vec![set("register", "new")]);
    let ticket = net.ask(0, edits);
    assert_eq!(net.outcome(0, ticket), Outcome::Gone);
    assert!(matches!(net.node(0).store().get(key), Some(State::Ended(_))));
}

/// Tests rule V9: what began after the loss is like any other.
#[test]
fn what_begins_after_a_loss_is_stamped_by_whoever_owns_it() {
    let mut net = Net::agreed(2, 1, 1);
    let key = key_ranked(&[2, 0, 1]);
    lost_after_it_was_given_up(&mut net, key, &[2]);
    net.create(0, key);
    let after = net.write(0, key, "new").version;
    assert!(after.get(net.inc(0)).is_some());
    assert_eq!(net.register(0, key, "register"), "new");
}
