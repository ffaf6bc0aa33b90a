//! Lines that are bad and not cut: all of them, in both directions.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::scene::{Scene, Survives, let_pass, under_load};
use super::{Row, Scenario, Settings, Watch, network};
use crate::proxy::{Conditions, Counts};
use crate::service::Service;

/// Three of them vote.
const NODES: usize = 5;

/// Of the requests before it so many go on at least, in percent: slower is allowed, a standstill is
/// not.
const GOES_ON_PERCENT: f64 = 1.0;

/// How all lines are for a while, and what that may do.
struct Weather {
    what: &'static str,
    conditions: Conditions,
    /// Members may be taken for dead.
    may_remove: bool,
    /// Requests may be told that a session cannot be reached.
    may_refuse: bool,
}

impl Weather {
    const fn harmless(what: &'static str, conditions: Conditions) -> Self {
        Self { what, conditions, may_remove: false, may_refuse: false }
    }
}

const fn lossy(what: &'static str, loss: f64, burst: u32) -> Weather {
    Weather::harmless(what, Conditions { loss, burst, ..Conditions::GOOD })
}

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

const LOSS: [Weather; 5] = [
    lossy("1 % is lost", 1.0, 1),
    lossy("5 % is lost", 5.0, 1),
    lossy("5 % is lost, in rows of 8", 5.0, 8),
    lossy("20 % is lost", 20.0, 1),
    // A question and its answer pass at one try in three.
    Weather { may_remove: true, may_refuse: true, ..lossy("40 % is lost", 40.0, 1) },
];

const DELAY: [Weather; 1] =
    [Weather::harmless("200 ms, both ways", Conditions { delay: ms(200), ..Conditions::GOOD })];

const JITTER: [Weather; 1] = [Weather::harmless(
    "20 to 120 ms",
    Conditions { delay: ms(20), jitter: ms(100), ..Conditions::GOOD },
)];

const SLOW_LINE: [Weather; 1] =
    [Weather::harmless("1 Mbit/s", Conditions { rate: Some(1_000_000), ..Conditions::GOOD })];

const DUPLICATION: [Weather; 1] =
    [Weather::harmless("30 % comes twice", Conditions { duplication: 30.0, ..Conditions::GOOD })];

const REORDERING: [Weather; 1] = [Weather::harmless(
    "30 % is overtaken",
    Conditions { reordering: 30.0, hold: ms(20), ..Conditions::GOOD },
)];

/// Lines lose what they carry.
pub(super) fn loss(service: &Service, settings: &Settings, watch: &Watch) -> Result<Row> {
    bad(Scenario::Loss, &LOSS, service, settings, watch)
}

/// Lines are long.
pub(super) fn delay(service: &Service, settings: &Settings, watch: &Watch) -> Result<Row> {
    bad(Scenario::Delay, &DELAY, service, settings, watch)
}

/// Lines are now shorter, now longer.
pub(super) fn jitter(service: &Service, settings: &Settings, watch: &Watch) -> Result<Row> {
    bad(Scenario::Jitter, &JITTER, service, settings, watch)
}

/// Lines carry little.
pub(super) fn slow(service: &Service, settings: &Settings, watch: &Watch) -> Result<Row> {
    bad(Scenario::SlowLine, &SLOW_LINE, service, settings, watch)
}

/// Lines double what they carry.
pub(super) fn duplication(service: &Service, settings: &Settings, watch: &Watch) -> Result<Row> {
    bad(Scenario::Duplication, &DUPLICATION, service, settings, watch)
}

/// Lines hold some of it back.
pub(super) fn reordering(service: &Service, settings: &Settings, watch: &Watch) -> Result<Row> {
    bad(Scenario::Reordering, &REORDERING, service, settings, watch)
}

/// One kind of bad lines after another.
fn bad(
    scenario: Scenario,
    weathers: &[Weather],
    service: &Service,
    settings: &Settings,
    watch: &Watch,
) -> Result<Row> {
    let mut cluster = network::behind_proxy(service, settings, NODES, Survives::One)?;
    under_load(scenario, settings, watch, &mut cluster, None, |scene| {
        let fair = rate(scene, settings.fault / 4)?;
        for weather in weathers {
            weather.strike(scene, settings.fault, fair).context(weather.what)?;
            scene.go_on()?;
        }
        Ok(())
    })
}

/// Requests per second while nothing is changed.
fn rate(scene: &Scene<'_>, length: Duration) -> Result<f64> {
    let (before, began) = (scene.requests(), Instant::now());
    let_pass(length);
    let rate = (scene.requests() - before) as f64 / began.elapsed().as_secs_f64();
    ensure!(rate > 0.0, "no request was answered on good lines");
    Ok(rate)
}

impl Weather {
    fn strike(&self, scene: &mut Scene<'_>, length: Duration, fair: f64) -> Result<()> {
        scene.say(&format!("{}, for {length:?}", self.what));
        let members = scene.processes(0)?;
        let pairs = scene.cluster.proxy()?.pairs();
        if self.may_refuse {
            scene.begin_trouble((0..scene.cluster.len()).collect());
        }
        let before: Vec<_> = network::counts_of_each(scene, &pairs)?;
        scene.cluster.proxy()?.set_each(&pairs, self.conditions);
        let rate = rate(scene, length)?;
        let strikes = network::counts_of_each(scene, &pairs)?;
        scene.cluster.proxy()?.heal();
        let since = Instant::now();
        let mut all = Counts::default();
        for ((pair, before), now) in pairs.iter().zip(before).zip(strikes) {
            let struck = now.since(before);
            ensure!(struck.passed > 0, "nothing was said on the line {pair:?}");
            all = all.and(struck);
        }
        ensure!(all.show(&self.conditions), "the lines were not like that: {all}");
        scene.say(&all.to_string());
        scene.say(&format!("{rate:.0} requests per second, of {fair:.0} on good lines"));
        ensure!(rate * 100.0 >= fair * GOES_ON_PERCENT, "{rate:.1} requests per second");
        scene.full(since)?;
        scene.end_trouble();
        let after = scene.processes(0)?;
        ensure!(self.may_remove || after == members, "were {members:?}, and are now {after:?}");
        Ok(())
    }
}
