//! Owners of which one has less memory than the others.

use protocol::limits::ROOM_KNOWN_MS;
use protocol::{Ack, Commit, Life, Options, Outcome, Report};
use session::User;

use crate::support::{Net, key, set};

/// The second of two nodes has room for that many bytes, the first for everything.
fn small(options: &mut Options, bytes_max: usize) {
    if options.noise_seed == 1 {
        options.bytes_max = bytes_max;
    }
}

fn creation(net: &mut Net, host: usize, number: u16, is_signed_in: bool) -> Commit {
    let mut creation = net.creation(host, key(number), vec![set("register", &"x".repeat(500))]);
    if let Life::Create(core) = &mut creation.life {
        core.user = is_signed_in.then(|| User::new("ann").expect("a short name"));
    }
    creation
}

/// Begins sessions of signed-in users, whom nobody may end for room, until none begins any more;
/// how many there are.
fn fill(net: &mut Net, host: usize) -> u16 {
    for number in 0..100 {
        let creation = creation(net, host, number, true);
        let ticket = net.ask(host, creation);
        match net.outcome(host, ticket) {
            Outcome::Done(_) => net.run_until_calm(),
            full => {
                assert_eq!(full, Outcome::Full);
                return number;
            }
        }
    }
    panic!("a hundred sessions found room");
}

/// Tests rule M1: no session begins that an owner would have to hold beyond its limit, at whichever
/// node; and sessions begin again when it has room.
#[test]
fn nothing_begins_that_an_owner_has_no_room_for() {
    let mut net = Net::synced_with(2, |options| small(options, 3_000));
    let created = fill(&mut net, 0);
    assert!((4..=6).contains(&created), "{created}");
    assert!(net.node(1).store().bytes() < 3_000 + 1_000);
    let more = creation(&mut net, 1, created, true);
    let ticket = net.ask(1, more);
    assert_eq!(net.outcome(1, ticket), Outcome::Full);
    net.write(0, key(0), "still here");
    for number in 0..2 {
        let end = net.end(0, key(number), Ack::All);
        assert_eq!(net.commit(0, end).report, Report { asked: 1, got: 1 });
    }
    // The next message of the other says that there is room.
    net.write(0, key(2), "still here");
    net.run_until_calm();
    net.create(0, key(created + 1));
}

/// Tests rule M1: what a node has said of its room is forgotten when it says nothing any more.
#[test]
fn bound_room_known_ms() {
    let mut net = Net::synced_with(2, |options| small(options, 3_000));
    let created = fill(&mut net, 0);
    net.crash(1);
    net.run_ms(ROOM_KNOWN_MS / 2);
    let more = creation(&mut net, 0, created, true);
    let ticket = net.ask(0, more);
    assert_eq!(net.outcome(0, ticket), Outcome::Full, "it may be back");
    net.run_ms(ROOM_KNOWN_MS / 2);
    net.create(0, key(created));
}

/// Tests rule M1: sessions that nobody is signed in to are ended for an owner that has little room,
/// by one that has enough.
#[test]
fn room_is_made_for_others() {
    let mut net = Net::synced_with(2, |options| small(options, 40_000));
    for number in 0..90 {
        let creation = creation(&mut net, 0, number, false);
        net.commit(0, creation);
        net.run_ms(100);
        assert!(net.node(1).store().bytes() < 40_000);
    }
    net.run_until_calm();
    assert!(net.node(0).counters().evicted > 0);
    assert!((0..90).any(|n| net.has_ended(0, key(n)) && net.has_ended(1, key(n))));
}
