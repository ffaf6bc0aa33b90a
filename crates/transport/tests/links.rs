//! Links and lanes between nodes in order.

mod support;

use std::collections::BTreeMap;

use bytes::Bytes;
use support::{Cluster, introduce};
use transport::Lane;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_arrive_on_each_lane_in_order() {
    const FRAMES: u32 = 500;
    let cluster = Cluster::new("c1");
    let (a, mut b) = cluster.pair().await;
    for number in 0..FRAMES {
        for lane in Lane::ALL {
            a.send(&b, lane, Bytes::copy_from_slice(&number.to_be_bytes()));
        }
    }
    let mut next = BTreeMap::from(Lane::ALL.map(|lane| (lane, 0)));
    for _ in 0..3 * FRAMES {
        let (lane, frame) = b.frame().await;
        let next = next.get_mut(&lane).unwrap();
        assert_eq!(frame, u32::to_be_bytes(*next)[..]);
        *next += 1;
    }
    assert!(next.values().all(|next| *next == FRAMES));
    let (out, arrived) = (a.endpoint.counters(), b.endpoint.counters());
    for lane in Lane::ALL {
        assert_eq!(out.lane(lane).frames_out, u64::from(FRAMES));
        assert_eq!(arrived.lane(lane).bytes_in, u64::from(4 * FRAMES));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_dial_at_once_have_one_link() {
    let cluster = Cluster::new("c1");
    for _ in 0..20 {
        let (mut a, mut b) = (cluster.start("n1"), cluster.start("n2"));
        introduce(&a, &b);
        a.up().await;
        b.up().await;
        for (from, to) in [(&a, &b), (&b, &a)] {
            from.send(to, Lane::Live, "over this link");
        }
        assert_eq!(a.frame().await.1, "over this link");
        assert_eq!(b.frame().await.1, "over this link");
        for node in [&a, &b] {
            let counters = node.endpoint.counters();
            assert_eq!((counters.links_up, counters.links_down), (1, 0));
        }
    }
}
