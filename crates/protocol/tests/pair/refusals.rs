//! Edits that no owner may stamp by itself: executed after asking all, or honestly not, and soon.

use protocol::limits::{ASK_EVERYONE_MS, HOPELESS_MS};
use protocol::{Life, Message, Outcome};
use session::{Edit, SessionKey, Version};

use crate::support::{Net, is_repair, key, key_in, name};

/// Creates a session at `maker` that the `hosts` may have forgotten (rule E4): alone, each creates
/// and forgets a younger one before this one reaches it.
fn create_forgotten(net: &mut Net, maker: usize, hosts: &[usize], key: SessionKey) {
    let pairs = |net: &Net| {
        let all = 0..net.hosts.len();
        let pairs = hosts.iter().flat_map(|host| all.clone().map(move |other| (*host, other)));
        pairs.collect::<Vec<_>>()
    };
    pairs(net).into_iter().for_each(|(a, b)| net.cut(a, b));
    net.create(maker, key);
    for (host, number) in hosts.iter().zip(3_000..) {
        let younger = key_in(key.slot().number(), number);
        let mut creation = net.creation(*host, younger, Vec::new());
        if let Life::Create(core) = &mut creation.life {
            core.idle_ms = 1_000;
        }
        net.commit(*host, creation);
        net.run_until("it is forgotten", |net| net.session(*host, younger).is_none());
    }
    pairs(net).into_iter().for_each(|(a, b)| net.mend(a, b));
    net.run_until("they have it, in doubt", |net| {
        hosts.iter().all(|host| net.node(*host).store().is_retired(key)) && net.is_calm()
    });
    net.log.clear();
}

/// What becomes of an edit, and after how many milliseconds.
fn outcome_of_add(net: &mut Net, host: usize, key: SessionKey, at: Version) -> (Outcome, u64) {
    let (before, commit) = (net.now, net.edits(host, key, vec![Edit::Add(name("counter"), 1)]));
    let ticket = net.ask(host, protocol::Commit { at, ..commit });
    let outcome = net.outcome(host, ticket);
    (outcome, net.now.since(before))
}

/// Tests rules E4 and H3: one may not stamp for its clock, the other for what it may have forgotten.
#[test]
fn a_session_that_one_has_forgotten_and_the_others_clock_is_wrong_is_stamped() {
    let mut net = Net::synced(2);
    create_forgotten(&mut net, 1, &[0], key(1));
    net.set_ahead(1, 300);
    net.run_ms(3_000);
    let (a, b, at) = (net.inc(0), net.inc(1), net.version(1, key(1)));
    let (outcome, took) = outcome_of_add(&mut net, 1, key(1), at.clone());
    let Outcome::Done(acked) = outcome else { panic!("{outcome:?} after {took} ms") };
    assert!(acked.version.get(a).is_some() && acked.version.get(b) == at.get(b));
    assert!(took < 100, "{took} ms");
}

/// Tests rules E4 and S1: those that have caught up may have forgotten it, the other has not.
#[test]
fn a_session_that_all_synced_owners_may_have_forgotten_is_stamped_for_one_that_is_not_synced() {
    let mut net = Net::synced(3);
    create_forgotten(&mut net, 2, &[0, 1], key(1));
    net.crash(2);
    net.run_ms(10);
    net.start(2);
    net.lose(is_repair);
    net.run_ms(100);
    assert!(!net.node(2).is_synced());
    let at = net.version(0, key(1));
    let (outcome, took) = outcome_of_add(&mut net, 2, key(1), at);
    assert!(matches!(outcome, Outcome::Done(_)) && took < 100, "{outcome:?} after {took} ms");
}

/// Tests rule E4: an owner that does not answer may hold more, so there is no stamp, and no wait
/// beyond the moment in which it may come back.
#[test]
fn a_session_that_all_who_answer_may_have_forgotten_is_soon_unavailable() {
    for (hosts, forgot) in [(2, &[0][..]), (3, &[0, 1])] {
        let mut net = Net::synced(hosts);
        create_forgotten(&mut net, hosts - 1, forgot, key(1));
        net.crash(hosts - 1);
        net.run_ms(3_000);
        for host in forgot {
            let at = net.version(*host, key(1));
            let (outcome, took) = outcome_of_add(&mut net, *host, key(1), at);
            assert_eq!(outcome, Outcome::Unavailable);
            assert!(took.abs_diff(HOPELESS_MS) < 100, "{took} ms");
        }
        net.start(hosts - 1);
        net.run_until("it has caught up", |net| net.node(hosts - 1).is_synced());
        net.run_ms(600);
        let at = net.version(0, key(1));
        let (outcome, took) = outcome_of_add(&mut net, 0, key(1), at);
        assert!(matches!(outcome, Outcome::Done(_)) && took < 100, "{outcome:?} after {took} ms");
    }
}

/// Tests rule N2: whoever may not stamp and hears nobody who may says so after a moment.
#[test]
fn a_node_whose_clock_is_wrong_and_that_hears_nobody_is_soon_unavailable() {
    let mut net = Net::synced(3);
    net.create_everywhere(0, key(1));
    net.set_ahead(1, 300);
    net.run_ms(3_000);
    net.cut(1, 0);
    net.cut(1, 2);
    net.run_ms(2_500);
    let at = net.version(1, key(1));
    let (outcome, took) = outcome_of_add(&mut net, 1, key(1), at);
    assert_eq!(outcome, Outcome::Unavailable);
    assert!(took.abs_diff(HOPELESS_MS) < 100, "{took} ms");
}

/// Tests rule E4: who may have forgotten it does not keep edits from an owner that has not, when
/// another is silent.
#[test]
fn bound_ask_everyone_ms() {
    let mut net = Net::synced(4);
    let order = |net: &Net, key| {
        let owners = net.node(0).owners(key).into_iter();
        owners.filter_map(|owner| net.host_of(owner)).collect::<Vec<_>>()
    };
    let key = (1..4_000).map(key).find(|key| order(&net, *key)[..3] == [0, 1, 2]);
    let key = key.expect("every order is somewhere");
    create_forgotten(&mut net, 2, &[0, 1], key);
    let (c, d) = (net.inc(2), net.inc(3));
    net.lose(move |e| e.from == d && matches!(e.message, Message::Fetched { .. }));
    let at = net.version(0, key);
    let (outcome, took) = outcome_of_add(&mut net, 0, key, at.clone());
    let Outcome::Done(acked) = outcome else { panic!("{outcome:?} after {took} ms") };
    assert!(acked.version.get(c) > at.get(c), "it is a stamp of c");
    assert!(took.abs_diff(ASK_EVERYONE_MS) < 100, "{took} ms");
}
