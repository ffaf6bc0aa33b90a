//! More nodes, fewer nodes, and none at all for a moment.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::fleet::{FOUNDERS, Fleet, NODES_MAX};
use super::stage::under_load;
use super::{Scenario, Setting};
use crate::client::{Client, Jar};
use crate::cluster::name;
use crate::scenario::Row;

/// Sessions that are there before all nodes stop.
const SESSIONS: usize = 10;

/// Two nodes join three, and leave them.
pub(super) fn there_and_back(setting: &Setting<'_>) -> Result<Row> {
    let mut fleet = setting.fleet(FOUNDERS)?;
    under_load(Scenario::Grow, setting.watch, &mut fleet, |stage| {
        let later: Vec<usize> = (FOUNDERS..NODES_MAX).collect();
        stage.say("two nodes join");
        let since = Instant::now();
        stage.fleet.create(&later, &[])?;
        stage.full(since)?;
        stage.go_on()?;
        let since = Instant::now();
        for node in later {
            stage.stop(&[node])?;
        }
        stage.full(since)
    })
}

/// All end in good order, then all in one moment: the members are the same afterwards, the sessions
/// are gone, and whoever had one is told so.
pub(super) fn all_down(setting: &Setting<'_>) -> Result<Row> {
    let mut fleet = setting.fleet(FOUNDERS)?;
    let nodes: Vec<usize> = (0..FOUNDERS).collect();
    let group = group(&fleet)?;
    let mut full = std::time::Duration::ZERO;
    for is_in_order in [true, false] {
        let jars: Result<Vec<Jar>> = (0..SESSIONS).map(|number| enter(&fleet, number)).collect();
        let jars = jars?;
        setting.watch.say(if is_in_order { "stopping all" } else { "killing all" });
        match is_in_order {
            true => fleet.stop(&nodes)?,
            false => fleet.kill(&nodes)?,
        }
        setting.watch.say("starting all");
        let since = Instant::now();
        fleet.start_again(&nodes)?;
        fleet.whole()?;
        full = full.max(since.elapsed());
        setting.watch.say("looking for the sessions of before");
        for (number, jar) in jars.into_iter().enumerate() {
            let http = fleet.http(nodes[number % nodes.len()]);
            let mut told = String::new();
            let gone = fleet.until("who had a session is told that there is none", || {
                let answer = Client::with_jar(jar.clone()).get(http, "/count");
                told = format!("{answer:?}");
                answer.is_ok_and(|answer| answer.status == 401)
            });
            gone.with_context(|| told)?;
            enter(&fleet, number)?;
        }
    }
    ensure!(self::group(&fleet)? == group, "there was another cluster before");
    let mut row = under_load(Scenario::AllDown, setting.watch, &mut fleet, |_| Ok(()))?;
    row.full = full;
    Ok(row)
}

/// Begins a session and reads it everywhere.
fn enter(fleet: &Fleet<'_>, number: usize) -> Result<Jar> {
    let nodes = fleet.connected();
    let mut client = Client::new();
    let first = nodes[number % nodes.len()];
    let answer = client.get(fleet.http(first), &format!("/login?user=d{number}&k0={number}"))?;
    ensure!(answer.status == 200, "a login on {}: {answer:?}", name(first));
    for node in nodes {
        let answer = client.get(fleet.http(node), "/get?k=k0")?;
        ensure!(answer.body == number.to_string(), "read on {}: {answer:?}", name(node));
    }
    Ok(client.jar)
}

/// Which cluster it is; all have to say the same.
fn group(fleet: &Fleet<'_>) -> Result<String> {
    let groups: Result<BTreeSet<String>> = fleet
        .connected()
        .into_iter()
        .map(|node| {
            let status = fleet.status(node)?;
            Ok(format!("{} of generation {}", status["group"], status["generation"]))
        })
        .collect();
    let groups = groups?;
    ensure!(groups.len() == 1, "more than one cluster: {groups:?}");
    groups.into_iter().next().context("nobody runs")
}
