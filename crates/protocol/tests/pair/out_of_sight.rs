//! An owner whose answer is needed is out of sight: it is given a moment to come back, and not
//! more.

use protocol::limits::{ASK_EVERYONE_MS, HOPELESS_MS, LOADS_MAX, TICK_MS};
use protocol::{Commit, Message, Opened, Outcome, Ticket};
use session::{SessionKey, Token, Version};

use crate::support::{LIFE_MS, Net, is_deltas, is_repair, key, set};

/// How long a link is down that is being made anew, in milliseconds.
const LINK_MS: u64 = 60;

/// `a` has written what no other owner has, and the link between `a` and `b` is down; the version
/// after it is what a client has seen.
fn out_of_sight(hosts: usize) -> (Net, Version) {
    let mut net = Net::synced(hosts);
    net.create_everywhere(0, key(1));
    let a = net.inc(0);
    net.lose(move |e| e.from == a && (is_deltas(e) || is_repair(e)));
    let seen = net.write(0, key(1), "seen").version;
    net.run_ms(10);
    net.set_link(0, 1, false);
    (net, seen)
}

fn ask_open(net: &mut Net, host: usize, key: SessionKey, seen: &Version) -> Ticket {
    let (version, may_expire) = (seen.clone(), net.now.plus(LIFE_MS));
    net.ask_open(host, key, Some(Token { version, may_expire }))
}

fn ask_edit(net: &mut Net, host: usize, seen: &Version) -> Ticket {
    let edits = net.edits(host, key(1), vec![set("other", "after it")]);
    net.ask(host, Commit { at: seen.clone(), ..edits })
}

/// Milliseconds until something holds.
fn wait(net: &mut Net, what: &str, holds: impl FnMut(&Net) -> bool) -> u64 {
    let before = net.now;
    net.run_until(what, holds);
    net.now.since(before)
}

/// Asserts that it took the moment that others are given, and a tick at most.
fn assert_moment(took: u64) {
    assert!((HOPELESS_MS..=HOPELESS_MS + TICK_MS).contains(&took), "{took} ms");
}

/// Tests rule K2: a request that arrives while a link is being made does not fail for that.
#[test]
fn an_owner_serves_when_the_link_that_it_needs_comes_back_in_a_moment() {
    let (mut net, seen) = out_of_sight(2);
    let (open, edit) = (ask_open(&mut net, 1, key(1), &seen), ask_edit(&mut net, 1, &seen));
    net.run_ms(LINK_MS);
    assert!(net.hosts[1].opened.is_empty(), "a is about to come back");
    net.set_link(0, 1, true);
    let Opened::Session { session, lost } = net.opened(1, open) else { panic!("a has it") };
    assert!(session.version.covers_all(&seen) && lost.is_empty());
    assert!(matches!(net.outcome(1, edit), Outcome::Done(_)));
    assert_eq!(net.register(1, key(1), "register"), "seen");
}

/// Tests rules K2 and K3: whoever stays away is not waited for to the deadline of the request.
#[test]
fn bound_hopeless_ms() {
    let (mut net, seen) = out_of_sight(2);
    let (open, edit) = (ask_open(&mut net, 1, key(1), &seen), ask_edit(&mut net, 1, &seen));
    let took = wait(&mut net, "both are answered", |net| {
        let host = &net.hosts[1];
        host.opened.contains_key(&open) && host.committed.contains_key(&edit)
    });
    assert_moment(took);
    assert_eq!(net.opened(1, open), Opened::Unavailable);
    assert_eq!(net.outcome(1, edit), Outcome::Unavailable);
    assert_eq!(net.node(1).waiting(), (0, 0, 0));
}

/// Tests rule K2: nobody waits beyond the deadline of the request for that.
#[test]
fn a_request_with_less_time_than_that_moment_is_answered_in_time() {
    let (mut net, seen) = out_of_sight(2);
    let token = Token { version: seen, may_expire: net.now.plus(LIFE_MS) };
    let ticket = net.ask_open_within(1, key(1), Some(token), 200);
    let took = wait(&mut net, "it is answered", |net| net.hosts[1].opened.contains_key(&ticket));
    assert!((200..=200 + TICK_MS).contains(&took), "{took} ms");
    assert_eq!(net.opened(1, ticket), Opened::Unavailable);
}

/// Tests rules E1 and K2: whether a session is idle is asked in the same way.
#[test]
fn what_looks_idle_is_not_refused_while_a_link_is_being_made() {
    let mut net = Net::synced(2);
    net.create_everywhere(0, key(1));
    let a = net.inc(0);
    net.lose(move |e| e.from == a && (is_deltas(e) || is_repair(e)));
    net.run_ms(590_000);
    let touch = net.edits(0, key(1), Vec::new());
    net.commit(0, touch);
    net.run_ms(40_500);
    assert!(net.session(1, key(1)).is_some_and(|session| session.is_idle(net.now)));
    net.set_link(0, 1, false);
    let ticket = net.ask_open(1, key(1), None);
    net.run_ms(LINK_MS);
    net.set_link(0, 1, true);
    assert!(matches!(net.opened(1, ticket), Opened::Session { .. }));
}

/// Tests rules K3 and N1: a writer that is an owner by a later view, and alone has the session, is
/// given the same moment.
#[test]
fn a_writer_that_is_no_owner_yet_is_given_a_moment_as_well() {
    let (mut net, key) = Net::owned_later();
    let a = net.inc(0);
    net.lose(move |e| e.to == a && (is_deltas(e) || is_repair(e)));
    let seen = net.create(2, key).version;
    assert_eq!(net.owners(1, key), [0], "b asks a, which has nothing");
    net.set_link(1, 2, false);
    let ticket = ask_open(&mut net, 1, key, &seen);
    net.run_ms(LINK_MS);
    assert!(!net.hosts[1].opened.contains_key(&ticket), "c is about to come back");
    net.set_link(1, 2, true);
    assert!(matches!(net.opened(1, ticket), Opened::Session { .. }));
    net.set_link(1, 2, false);
    let ticket = ask_open(&mut net, 1, key, &seen);
    let took = wait(&mut net, "it is answered", |net| net.hosts[1].opened.contains_key(&ticket));
    assert_moment(took);
    assert_eq!(net.opened(1, ticket), Opened::Unavailable);
}

/// Tests rules N2 and F1: edits that were forwarded are refused without that moment, because another
/// owner may have what this one lacks; whoever forwarded them gives it.
#[test]
fn an_owner_that_was_asked_refuses_at_once_so_that_another_is_asked() {
    let mut net = Net::agreed(3, 2, 0);
    let key = net.key_owned_by(&[0, 1]);
    net.create(0, key);
    net.settle();
    let (a, b) = (net.inc(0), net.inc(1));
    assert_eq!(net.owners(2, key)[0], 0, "a is asked first");
    net.lose(move |e| (e.from == b || e.to == b) && (is_deltas(e) || is_repair(e)));
    let seen = net.write(1, key, "seen").version;
    net.set_link(0, 1, false);
    net.log.clear();
    let edits = net.edits(1, key, vec![set("other", "after it")]);
    let ticket = net.ask(2, Commit { at: seen, ..edits });
    let took = wait(&mut net, "it is done", |net| net.hosts[2].committed.contains_key(&ticket));
    assert!(took < HOPELESS_MS.min(ASK_EVERYONE_MS) / 2, "{took} ms");
    assert!(matches!(net.outcome(2, ticket), Outcome::Done(_)));
    let refused = |e: &protocol::Envelope| {
        e.from == a && matches!(e.message, Message::Forwarded { outcome: None, .. })
    };
    assert_eq!(net.count(refused), 1);
}

/// Tests rule K2: more requests than may wait are answered at once, and the others in time.
#[test]
fn requests_that_wait_for_an_owner_that_stays_away_are_bounded() {
    let (mut net, seen) = out_of_sight(2);
    let tickets: Vec<Ticket> =
        (0..LOADS_MAX + 10).map(|_| ask_open(&mut net, 1, key(1), &seen)).collect();
    assert_eq!((net.node(1).waiting().0, net.hosts[1].opened.len()), (LOADS_MAX, 10));
    let took = wait(&mut net, "all are answered", |net| net.hosts[1].opened.len() == tickets.len());
    assert_moment(took);
    assert!(net.hosts[1].opened.values().all(|opened| *opened == Opened::Unavailable));
    assert_eq!(net.node(1).waiting().0, 0);
}
