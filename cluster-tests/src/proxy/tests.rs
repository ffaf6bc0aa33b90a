//! Two nodes that are sockets, and the lines between them.

use super::*;
use crate::wait::PATIENCE;

/// The two, and what is between them.
struct Pair2 {
    nodes: [UdpSocket; 2],
    proxy: Proxy,
}

fn two() -> Pair2 {
    let node = || {
        let node = bind(own_ip()).unwrap();
        node.set_read_timeout(Some(PATIENCE)).unwrap();
        node
    };
    let nodes = [node(), node()];
    let addresses = [0, 1].map(|node: usize| nodes[node].local_addr().unwrap());
    let proxy = Proxy::start(&addresses, 7).unwrap();
    Pair2 { nodes, proxy }
}

impl Pair2 {
    /// The first node, which has dialed the second, sends it something.
    fn ask(&self, byte: u8) {
        let front = self.proxy.front(1).unwrap();
        self.nodes[0].send_to(&[byte], front).unwrap();
    }

    fn receive(&self, node: usize) -> (u8, SocketAddr) {
        let mut bytes = [0; 8];
        let (count, sender) = self.nodes[node].recv_from(&mut bytes).unwrap();
        assert_eq!(count, 1);
        (bytes[0], sender)
    }

    /// What arrives at the second node before a mark does that is sent now.
    fn until_mark(&self) -> Vec<u8> {
        self.ask(0);
        let received = std::iter::repeat_with(|| self.receive(1).0);
        received.take_while(|byte| *byte != 0).collect()
    }
}

#[test]
fn what_one_asks_and_the_other_answers_passes() {
    let pair = two();
    pair.ask(1);
    let (byte, side) = pair.receive(1);
    assert_eq!(byte, 1);
    pair.nodes[1].send_to(&[2], side).unwrap();
    assert_eq!(pair.receive(0), (2, pair.proxy.front(1).unwrap()));
    let passed = Counts { passed: 1, ..Counts::default() };
    assert_eq!((pair.proxy.counts(0, 1), pair.proxy.counts(1, 0)), (passed, passed));
}

#[test]
fn one_direction_is_cut_and_healed_and_the_other_passes() {
    let pair = two();
    pair.ask(1);
    let (_, side) = pair.receive(1);
    pair.proxy.cut(&[(0, 1)]);
    (2..7).for_each(|byte| pair.ask(byte));
    pair.nodes[1].send_to(&[9], side).unwrap();
    assert_eq!(pair.receive(0).0, 9, "the answer passes");
    // The socket of the front is served in order: once the answer to the last one is known to be
    // dropped the line is healed.
    crate::wait::wait_until("five are cut off", || pair.proxy.counts(0, 1).cut == 5).unwrap();
    pair.proxy.heal();
    assert!(pair.until_mark().is_empty());
}

#[test]
fn loss_and_duplication_are_those_that_were_counted() {
    let pair = two();
    pair.proxy.set(0, 1, Conditions { loss: 30.0, duplication: 30.0, ..Conditions::GOOD });
    for byte in 1..=100 {
        pair.ask(byte);
    }
    let is_done = || {
        let counts = pair.proxy.counts(0, 1);
        counts.passed + counts.lost == 100
    };
    crate::wait::wait_until("all are through", is_done).unwrap();
    let counts = pair.proxy.counts(0, 1);
    pair.proxy.heal();
    let received = pair.until_mark();
    assert!(counts.lost > 0 && counts.duplicated > 0, "{counts}");
    assert_eq!(received.len() as u64, counts.passed + counts.duplicated);
}

#[test]
fn what_is_delayed_comes_later_and_in_order() {
    let pair = two();
    let delay = Duration::from_millis(50);
    pair.proxy.set(0, 1, Conditions { delay, ..Conditions::GOOD });
    let began = Instant::now();
    (1..=5).for_each(|byte| pair.ask(byte));
    let received: Vec<u8> = (0..5).map(|_| pair.receive(1).0).collect();
    assert!(began.elapsed() >= delay);
    assert_eq!(received, [1, 2, 3, 4, 5]);
}

#[test]
fn what_is_held_back_is_overtaken() {
    let pair = two();
    let hold = Duration::from_millis(200);
    pair.proxy.set(0, 1, Conditions { reordering: 100.0, hold, ..Conditions::GOOD });
    pair.ask(1);
    crate::wait::wait_until("it is held back", || pair.proxy.counts(0, 1).held_back == 1).unwrap();
    pair.proxy.heal();
    pair.ask(2);
    assert_eq!([pair.receive(1).0, pair.receive(1).0], [2, 1]);
}

#[test]
fn after_rebinding_the_port_is_another_and_the_one_before_leads_nowhere() {
    let pair = two();
    pair.ask(1);
    let (_, before) = pair.receive(1);
    pair.proxy.rebind(0, 1).unwrap();
    pair.ask(2);
    let (byte, side) = pair.receive(1);
    assert_eq!(byte, 2);
    assert_ne!(side, before);
    pair.nodes[1].send_to(&[3], before).unwrap();
    pair.nodes[1].send_to(&[4], side).unwrap();
    assert_eq!(pair.receive(0).0, 4);
}

#[test]
fn strangers_are_counted_and_dropped() {
    let pair = two();
    let stranger = bind(own_ip()).unwrap();
    stranger.send_to(&[1], pair.proxy.front(1).unwrap()).unwrap();
    crate::wait::wait_until("a stranger was counted", || pair.proxy.strangers() == 1).unwrap();
    assert!(pair.until_mark().is_empty());
}
