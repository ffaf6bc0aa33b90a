//! What time does: the clock is adjusted, peers are judged, shards are told.

use std::sync::atomic::Ordering;

use protocol::Node;

use super::Driver;
use crate::clock::{Adjusted, Others};
use crate::links::Traffic;

/// The link with a peer that has been suspected for so long is made anew, in milliseconds: the peer
/// may have come back at another address, or lost its end of it. QUIC keeps idle links for long, so
/// it would find that out much later.
const LINK_LOST_MS: u64 = 3_000;

impl Driver {
    /// Time passed.
    pub(crate) fn handle_tick(&self) {
        self.adjust_clock();
        let traffic = self.links.take_traffic();
        let mut lost = Vec::new();
        self.with_agreed(|agreed, now| {
            // The question may be older than what came: then it is asked once too often.
            for Traffic { peer, asked, received } in &traffic {
                if *received {
                    agreed.liveness.handle_received(peer, now);
                }
                if *asked {
                    agreed.liveness.handle_asked(peer, now);
                }
            }
            agreed.liveness.handle_tick(now);
            // Whoever is no member yet is sent no heartbeats.
            if self.links.own_inc(&agreed.view).is_some() {
                lost.extend(agreed.liveness.suspected_for(LINK_LOST_MS, now).cloned());
            }
            // The link that is made next is not cut for the silence of this one.
            lost.iter().for_each(|name| agreed.liveness.handle_down(name));
        });
        for name in lost {
            if let Ok(peer) = name.0.parse() {
                self.endpoint.disconnect(&peer, "it does not answer");
            }
        }
        self.with_all(Node::handle_tick);
    }

    /// Draws the clock towards the machine's, as far as the others do not contradict.
    // Rule H2.
    fn adjust_clock(&self) {
        let others = {
            let agreed = self.links.agreed();
            match agreed.liveness.median_offset_ms(self.clock.now()) {
                Some(ms) => Others::Ahead(ms),
                None if agreed.view.members.len() <= 1 => Others::Absent,
                None => Others::Silent,
            }
        };
        let adjusted = self.clock.adjust(others);
        if adjusted == Adjusted::Set {
            tracing::warn!("the clock was behind, and is set forward");
            self.links.agreed().liveness.forget_offsets();
        }
        let is_refused = adjusted == Adjusted::Refused;
        if self.refuses_wall_clock.swap(is_refused, Ordering::Relaxed) != is_refused && is_refused {
            tracing::error!(
                "this machine's wall clock is off by {} ms, as far as the others know: it is not \
                 followed; set it right",
                self.clock.wall_ahead_ms()
            );
        }
    }
}
