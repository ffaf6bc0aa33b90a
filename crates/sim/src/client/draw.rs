//! What a client draws from the seed: whom it asks, what for, and under which key.

use session::{Edit, SessionKey, Value};

use super::{COUNTER, Purpose, name};
use crate::fault::FaultKind;
use crate::world::World;

/// How long a host that hands over goes on taking requests, in microseconds.
const DRAIN_GRACE_US: u64 = 1_000_000;

impl World {
    /// A host that takes requests, as a balancer finds it: another if there is no process, or one
    /// that knows that it is on its way out.
    pub(super) fn draw_host(&mut self) -> Option<usize> {
        let first = self.rng.usize(0..self.hosts.len());
        let tries = if self.scenario.is_agreed() { self.hosts.len() } else { 1 };
        let grace = self.now_us.saturating_sub(DRAIN_GRACE_US);
        (0..tries).map(|next| (first + next) % self.hosts.len()).find(|host| {
            let process = self.hosts[*host].process.as_ref();
            process.is_some_and(|process| process.draining.is_none_or(|since| since > grace))
        })
    }

    pub(super) fn draw_purpose(&mut self, browser: usize) -> Purpose {
        if self.browsers[browser].cookie.is_none() {
            return Purpose::Login;
        }
        match self.rng.u8(0..100) {
            0..45 => Purpose::Read,
            45..94 => {
                let count = self.rng.usize(1..4);
                Purpose::Edit((0..count).map(|_| self.draw_edit()).collect())
            }
            94..97 => Purpose::Login,
            _ => Purpose::Logout,
        }
    }

    pub(super) fn draw_edit(&mut self) -> Edit {
        let register = name(["a", "b", "c"][self.rng.usize(0..3)]);
        let element = Value::from(["w", "x", "y", "z"][self.rng.usize(0..4)]);
        match self.rng.u8(0..20) {
            0..6 => Edit::Set(register, self.serial()),
            6..7 => Edit::Remove(register),
            7..12 => Edit::Add(name(COUNTER), self.rng.i64(1..4)),
            12..13 => Edit::Add(name("r"), 1),
            13..14 => Edit::Reset(name("r")),
            14..17 => Edit::Insert(name("s"), element),
            17..19 => Edit::Withdraw(name("s"), element),
            _ => Edit::Remove(name("s")),
        }
    }

    /// A value that no other write has, so that whoever reads it tells which write it saw.
    fn serial(&mut self) -> Value {
        self.oracle.serial += 1;
        self.oracle.serial.to_be_bytes().as_slice().into()
    }

    /// A fresh key of this shard; most hosts draw until they may stamp it themselves.
    pub(super) fn draw_key(&mut self, host: usize) -> SessionKey {
        let slots = session::Slot::COUNT / self.settings.shards;
        let mask = u8::try_from(slots / 16 - 1).unwrap_or(u8::MAX);
        let tries = if self.scenario.is_agreed() && self.rng.u8(0..5) > 0 { 20 } else { 1 };
        let mut key = SessionKey([0; SessionKey::BYTES]);
        for _ in 0..tries {
            let mut bytes: [u8; SessionKey::BYTES] = std::array::from_fn(|_| self.rng.u8(..));
            bytes[0] &= mask;
            key = SessionKey(bytes);
            if self.hosts[host].process.as_ref().is_some_and(|p| p.node.speaks_for(key)) {
                break;
            }
        }
        key
    }

    pub(super) fn draw_lives(&mut self) -> (u64, u64) {
        if self.kinds.contains(&FaultKind::ShortLives) {
            (self.rng.u64(3_000..30_000), self.rng.u64(1_000..15_000))
        } else {
            (3_600_000, 600_000)
        }
    }
}
