//! Strikes nodes, one after another, and waits each time until everybody is a member again with full
//! copies.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;

use super::fault::{Dice, Kind, Line, Strike};
use super::{Board, Journal, NODES, Plan, Struck, names};
use crate::cluster::{Cluster, name};
use crate::history::{Down, Trouble};
use crate::load::Progress;
use crate::picture::pictures;
use crate::proxy::{Counts, Proxy};

/// After copies are full, so that what was acknowledged before is where it belongs, and visitors
/// work undisturbed for a moment.
const REST_MS: std::ops::Range<u64> = 1_500..4_000;

/// Between two looks at all nodes: they are loaded as it is.
const LOOK: Duration = Duration::from_millis(100);

/// A node whose lines come and go is well for so long, and cut off for as long.
const FLAP: Duration = Duration::from_millis(500);

/// A node that hung says that it is not well as soon as it goes on; the balancer has heard of it by
/// then, and requests that were sent before are answered.
const BACK: Duration = Duration::from_secs(2);

/// A stop that cannot end safely goes on for longer than its minute, while lines are bad.
const STOP_MAX: Duration = Duration::from_secs(180);

/// Longest wait until a node serves and until copies are full: the longest quarantine of whoever was
/// removed again and again, and a minute.
const RECOVERY_MAX: Duration = Duration::from_secs(660);

pub(super) struct Striker<'r> {
    plan: &'r Plan,
    cluster: &'r mut Cluster,
    proxy: &'r Proxy,
    progress: &'r Progress,
    journal: &'r Mutex<Journal>,
    board: &'r Board,
}

impl<'r> Striker<'r> {
    pub(super) const fn new(
        plan: &'r Plan,
        cluster: &'r mut Cluster,
        proxy: &'r Proxy,
        progress: &'r Progress,
        journal: &'r Mutex<Journal>,
        board: &'r Board,
    ) -> Self {
        Self { plan, cluster, proxy, progress, journal, board }
    }

    /// Until the time is over.
    pub(super) fn strike_until_over(&mut self) -> Result<()> {
        let mut dice = Dice::new(self.plan.seed, NODES, self.plan.survives());
        let mut random = fastrand::Rng::with_seed(self.plan.seed ^ 0x2e57);
        loop {
            self.last(Duration::from_millis(random.u64(REST_MS)));
            if self.progress.started.elapsed() >= self.plan.length {
                return Ok(());
            }
            let strike = dice.strike();
            let what =
                format!("{} {} for {:?}", strike.kind.name(), names(&strike.nodes), strike.length);
            self.board.say(&what);
            self.strike(&strike).with_context(|| what.clone())?;
            self.recover().with_context(|| format!("after {what}"))?;
        }
    }

    fn strike(&mut self, strike: &Strike) -> Result<()> {
        let Strike { kind, nodes, length } = strike;
        let from = self.progress.started.elapsed();
        let lines = lines_of(*kind, nodes);
        let before = self.proxy.counts_of(&lines);
        match kind {
            Kind::Kill => self.kill(nodes, *length)?,
            Kind::Pause => self.pause(nodes, *length)?,
            Kind::Restart => self.restart(nodes, *length)?,
            Kind::Drain => self.drain(nodes, *length)?,
            Kind::CutOff | Kind::Mute | Kind::Deaf | Kind::PairCut => {
                self.begin_trouble(&lines);
                self.proxy.cut(&lines);
                self.last(*length);
                self.proxy.mend(&lines);
            }
            Kind::Flapping => {
                self.begin_trouble(&lines);
                let began = Instant::now();
                while began.elapsed() < *length {
                    self.proxy.cut(&lines);
                    self.last(FLAP);
                    self.proxy.mend(&lines);
                    self.last(FLAP);
                }
            }
            Kind::Rebinding => {
                self.begin_trouble(&lines);
                lines.iter().try_for_each(|(from, to)| self.proxy.rebind(*from, *to))?;
            }
            Kind::Loss
            | Kind::Delay
            | Kind::Jitter
            | Kind::SlowLine
            | Kind::Duplication
            | Kind::Reordering => bail!("{} strikes nobody", kind.name()),
        }
        let until = self.progress.started.elapsed();
        let datagrams = self.proxy.counts_of(&lines).since(before);
        let is_cut = !matches!(kind, Kind::Rebinding) && !lines.is_empty();
        ensure!(!is_cut || datagrams.cut > 0, "nothing was cut off");
        let datagrams = if is_cut { datagrams } else { Counts::default() };
        let nodes = nodes.clone();
        self.journal().faults.push(Struck { kind: *kind, nodes, from, until, datagrams });
        Ok(())
    }

    fn kill(&mut self, nodes: &[usize], length: Duration) -> Result<()> {
        for node in nodes {
            self.begin_down(*node);
            self.cluster.kill(*node)?;
        }
        self.last(length);
        nodes.iter().try_for_each(|node| self.cluster.launch(*node))?;
        for node in nodes {
            self.serves(*node)?;
            self.end_down(*node, Duration::ZERO);
        }
        Ok(())
    }

    fn pause(&mut self, nodes: &[usize], length: Duration) -> Result<()> {
        for node in nodes {
            self.begin_down(*node);
            self.cluster.pause(*node)?;
        }
        self.last(length);
        for node in nodes {
            self.cluster.resume(*node)?;
            self.end_down(*node, BACK);
        }
        Ok(())
    }

    /// Nobody may notice, so that it does not count as down.
    fn restart(&mut self, nodes: &[usize], length: Duration) -> Result<()> {
        for node in nodes {
            self.cluster.process(*node)?.signal(Signal::TERM)?;
            self.start_again(*node, length)?;
        }
        Ok(())
    }

    /// Nor this.
    fn drain(&mut self, nodes: &[usize], length: Duration) -> Result<()> {
        for node in nodes {
            self.cluster.operate(*node, &["drain"])?;
            self.start_again(*node, length)?;
        }
        Ok(())
    }

    fn start_again(&mut self, node: usize, length: Duration) -> Result<()> {
        let status = self.cluster.ended_within(node, STOP_MAX)?;
        ensure!(status.success(), "{} ended with {status}", name(node));
        self.last(length);
        self.cluster.launch(node)?;
        self.serves(node)
    }

    /// Waits until a node serves: for long if it is in quarantine.
    fn serves(&self, node: usize) -> Result<()> {
        let began = Instant::now();
        loop {
            match self.cluster.serves(node) {
                Err(error) if began.elapsed() > RECOVERY_MAX => return Err(error),
                Err(_) => self.board.tick(),
                Ok(()) => return Ok(()),
            }
        }
    }

    /// Waits until everybody is a member with full copies. Only then may the next one be struck.
    fn recover(&self) -> Result<()> {
        self.board.say("waiting for full copies");
        let full = crate::wait::wait_for_within("full copies", RECOVERY_MAX, LOOK, || {
            self.board.tick();
            self.cluster.is_full().then_some(())
        });
        full.map_err(|error| anyhow::anyhow!("{error:#}: {}", pictures(self.cluster)))?;
        let until = self.progress.started.elapsed();
        // Those of weathers have an end already.
        for trouble in self.journal().troubles.iter_mut().filter(|t| t.until == Duration::MAX) {
            trouble.until = until;
        }
        Ok(())
    }

    /// How long a fault lasts is what is tried out, not a wait for anything.
    fn last(&self, length: Duration) {
        let until = Instant::now() + length;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            self.board.tick();
            std::thread::park_timeout(left.min(LOOK));
        }
    }

    fn begin_down(&self, node: usize) {
        let from = self.progress.started.elapsed();
        self.journal().downs.push(Down::begins(node, from));
    }

    fn end_down(&self, node: usize, later: Duration) {
        let until = self.progress.started.elapsed() + later;
        let mut journal = self.journal();
        Down::end(&mut journal.downs, node, until);
    }

    fn begin_trouble(&self, lines: &[Line]) {
        let mut nodes: Vec<usize> = lines.iter().flat_map(|(from, to)| [*from, *to]).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let from = self.progress.started.elapsed();
        self.journal().troubles.push(Trouble { nodes, from, until: Duration::MAX });
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lines that a strike cuts or rebinds.
fn lines_of(kind: Kind, nodes: &[usize]) -> Vec<Line> {
    let is_struck = |node: usize| nodes.contains(&node);
    let concerns = |(from, to): &Line| match kind {
        Kind::CutOff | Kind::Flapping => is_struck(*from) != is_struck(*to),
        Kind::Mute | Kind::Rebinding => is_struck(*from) && !is_struck(*to),
        Kind::Deaf => !is_struck(*from) && is_struck(*to),
        Kind::PairCut => from != to && is_struck(*from) && is_struck(*to),
        Kind::Kill
        | Kind::Pause
        | Kind::Restart
        | Kind::Drain
        | Kind::Loss
        | Kind::Delay
        | Kind::Jitter
        | Kind::SlowLine
        | Kind::Duplication
        | Kind::Reordering => false,
    };
    let all = (0..NODES).flat_map(|from| (0..NODES).map(move |to| (from, to)));
    all.filter(concerns).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_cut_off_reaches_nobody_but_those_cut_off_with_it() {
        let lines = lines_of(Kind::CutOff, &[1, 3]);
        assert_eq!(lines.len(), 2 * 2 * 3);
        assert!(!lines.contains(&(1, 3)) && !lines.contains(&(0, 2)) && lines.contains(&(3, 0)));
    }

    #[test]
    fn one_way_is_one_way() {
        assert_eq!(lines_of(Kind::Mute, &[2]), [(2, 0), (2, 1), (2, 3), (2, 4)]);
        assert_eq!(lines_of(Kind::Deaf, &[2]), [(0, 2), (1, 2), (3, 2), (4, 2)]);
    }

    #[test]
    fn a_pair_is_two_lines() {
        assert_eq!(lines_of(Kind::PairCut, &[4, 0]), [(0, 4), (4, 0)]);
    }
}
