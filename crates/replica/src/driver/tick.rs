//! What time does: the clock is adjusted, peers are judged, shards are told.

use std::sync::atomic::Ordering;

use protocol::Node;

use super::Driver;
use crate::clock::{Adjusted, Others};

impl Driver {
    /// Time passed.
    pub(crate) fn handle_tick(&self) {
        self.adjust_clock();
        self.with_agreed(|agreed, now| agreed.liveness.handle_tick(now));
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
