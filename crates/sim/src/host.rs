//! A machine of the cluster: its clock, and the process that runs on it.

use std::collections::BTreeSet;

use protocol::{Copies, Liveness, MemberName, Node, Options, Rules, View, Zone, neighbours};
use session::{Inc, LIMITS_DEFAULT, Time};

use crate::check::transitions::Sealed;

/// When the simulated world begins, in milliseconds since the epoch.
pub(crate) const BEGIN_MS: u64 = 1_800_000_000_000;

/// A process: what is lost when it dies.
pub(crate) struct Process {
    pub(crate) inc: Inc,
    pub(crate) node: Node,
    pub(crate) liveness: Liveness,
    /// The fixed view, with the processes that it has met.
    pub(crate) view: View,
    /// Epochs of layouts in which it is synced, to be told to the log.
    pub(crate) synced: BTreeSet<u64>,
    /// What it held as it took up the views of a transition.
    pub(crate) sealed: Vec<Sealed>,
    /// True once the log has removed it, whether it knows or not.
    pub(crate) removed: bool,
    /// Since when it hands over, in microseconds.
    pub(crate) draining: Option<u64>,
    /// Bytes that it had answered to repair requests, at the last look.
    pub(crate) repair_bytes: u64,
}

/// A machine: what stays.
pub(crate) struct Host {
    pub(crate) index: u16,
    pub(crate) name: MemberName,
    pub(crate) zone: Zone,
    pub(crate) process: Option<Process>,
    /// The number of a process that has started and is not a member yet.
    pub(crate) joining: Option<u64>,
    /// True if views are late here, or never come.
    pub(crate) late: bool,
    /// True while the others have given it up: no decision and no view reaches it.
    pub(crate) exiled: bool,
    pub(crate) paused: bool,
    /// Until when everything that arrives waits; used while paused.
    skew_ms: i64,
    drift_ppm: i64,
    last_now: Time,
    pub(crate) starts: u64,
}

/// What all hosts have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) nodes: usize,
    pub(crate) shards: u16,
    pub(crate) outbox_sessions_max: usize,
    pub(crate) repair_bytes_per_second: u64,
    pub(crate) bytes_max: usize,
    pub(crate) rules: Rules,
    pub(crate) neighbours_a_side: usize,
}

impl Host {
    pub(crate) fn new(index: u16, skew_ms: i64, drift_ppm: i64) -> Self {
        Self {
            index,
            name: name(index),
            zone: Zone::default(),
            process: None,
            joining: None,
            late: false,
            exiled: false,
            paused: false,
            skew_ms,
            drift_ppm,
            last_now: Time(0),
            starts: 0,
        }
    }

    /// What its clock says at the true time `us`, in microseconds from the beginning; never less
    /// than it said before (rule H2).
    pub(crate) fn now(&mut self, us: u64) -> Time {
        let ms = i64::try_from(us / 1_000).unwrap_or(i64::MAX);
        let off = self.skew_ms + ms * self.drift_ppm / 1_000_000;
        let now = (BEGIN_MS + us / 1_000).saturating_add_signed(off);
        self.last_now = self.last_now.max(Time(now));
        self.last_now
    }

    /// Sets its clock right, for the calm; it stands still rather than going back.
    pub(crate) fn set_clock_right(&mut self) {
        self.skew_ms = 0;
        self.drift_ppm = 0;
    }

    /// Starts a process under the fixed view, which knows nobody.
    pub(crate) fn start(&mut self, settings: &Settings, seed: u64, us: u64) -> Inc {
        let now = self.now(us);
        self.starts += 1;
        // A restart within a millisecond must still be a later start.
        let inc = Inc::of_start(now.plus(self.starts), self.index);
        let names = (0..settings.nodes).map(|i| name(u16::try_from(i).unwrap_or(u16::MAX)));
        let mut view = View::fixed(names, Copies::All);
        view.started(&self.name, inc);
        self.run(inc, view, settings, seed, now);
        inc
    }

    /// Its process has been taken in as `inc` by that view.
    pub(crate) fn join(&mut self, inc: Inc, view: View, settings: &Settings, seed: u64, us: u64) {
        let now = self.now(us);
        self.joining = None;
        self.run(inc, view, settings, seed, now);
    }

    fn run(&mut self, inc: Inc, view: View, settings: &Settings, seed: u64, now: Time) {
        let mut options = options(settings, inc, self.name.clone(), seed);
        if self.index == 0 {
            // It has less memory than the others.
            options.bytes_max /= 2;
        }
        let mut node = Node::new(options, view.clone(), now);
        node.store_mut().keep_journal();
        self.process = Some(Process {
            inc,
            node,
            liveness: Liveness::new(inc),
            view,
            synced: BTreeSet::new(),
            sealed: Vec::new(),
            removed: false,
            draining: None,
            repair_bytes: 0,
        });
        self.paused = false;
        self.find_neighbours(settings, now);
    }

    /// Who is near follows from the view.
    pub(crate) fn find_neighbours(&mut self, settings: &Settings, now: Time) {
        if let Some(process) = &mut self.process {
            let near = neighbours(process.node.view(), &self.name, settings.neighbours_a_side);
            process.liveness.handle_neighbours(near, now);
        }
    }

    /// Its process, if it runs as `inc`.
    pub(crate) fn process_of(&self, inc: Inc) -> Option<&Process> {
        self.process.as_ref().filter(|process| process.inc == inc)
    }
}

/// What the process `inc` of that member is told: it is its shard 0.
pub(crate) fn options(settings: &Settings, inc: Inc, name: MemberName, seed: u64) -> Options {
    Options {
        inc,
        name,
        shard: 0,
        shards: settings.shards,
        digest_seed: 7,
        noise_seed: seed ^ inc.0,
        outbox_sessions_max: settings.outbox_sessions_max,
        repair_interval_ms: protocol::limits::REPAIR_INTERVAL_MS,
        repair_bytes_per_second: settings.repair_bytes_per_second,
        ack_timeout_ms: 1_000,
        bytes_max: settings.bytes_max,
        limits: LIMITS_DEFAULT,
        rules: settings.rules,
    }
}

pub(crate) fn name(index: u16) -> MemberName {
    ["n1", "n2", "n3", "n4", "n5", "n6", "n7"]
        .get(usize::from(index))
        .map_or_else(|| format!("m{index}").as_str().into(), |name| (*name).into())
}
