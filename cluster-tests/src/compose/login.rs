//! The shortest scenario: one visitor, one session, and the node that it was begun on is killed.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::fleet::FOUNDERS;
use super::{Scenario, Setting};
use crate::client::Client;
use crate::scenario::Row;

/// Connections through the balancer: each node gets some of them.
const THROUGH: usize = 6;

/// Promises P1, P2, P3 and P7, by hand.
pub(super) fn on_one_used_on_all(setting: &Setting<'_>) -> Result<Row> {
    let mut row = Row::named(Scenario::Login.name(), setting.spread);
    let mut fleet = setting.fleet(FOUNDERS)?;
    fleet.create(&[], &["balancer"])?;
    let nodes: Vec<usize> = (0..FOUNDERS).collect();
    let mut visitor = Visitor { client: Client::new(), count: 0 };
    setting.watch.say("login on one node, and use on all");
    visitor.expect(fleet.http(0), "/login?user=ada&colour=blue", "ok")?;
    for node in &nodes {
        visitor.use_on(fleet.http(*node))?;
    }
    for node in &nodes {
        let health = fleet.health(*node)?;
        ensure!(health == "ok", "the health check says {health}");
    }
    setting.watch.say("killing the node of the login");
    let since = Instant::now();
    fleet.kill(&[0])?;
    for node in &nodes[1..] {
        visitor.use_on(fleet.http(*node))?;
    }
    fleet.full()?;
    row.full = since.elapsed();
    setting.watch.say("the same session through the balancer");
    let balancer = fleet.published("balancer")?;
    fleet.until("the balancer has heard of it", || {
        Client::new().get(balancer, "/health").is_ok_and(|answer| answer.status == 200)
    })?;
    for _ in 0..THROUGH {
        // A connection of its own for each: the balancer chooses for connections.
        visitor.client = Client::with_jar(visitor.client.jar.clone());
        visitor.use_on(balancer)?;
    }
    setting.watch.say("the node comes back");
    fleet.start_again(&[0])?;
    fleet.full()?;
    visitor.use_on(fleet.http(0))?;
    setting.watch.say("logout");
    let before = visitor.client.jar.clone();
    visitor.expect(fleet.http(1), "/logout", "ok")?;
    for node in &nodes {
        let answer = Client::with_jar(before.clone()).get(fleet.http(*node), "/count")?;
        ensure!(answer.status == 401, "after the logout: {answer:?}");
    }
    row.sessions += 1;
    row.writes += visitor.count + 2;
    Ok(row)
}

struct Visitor {
    client: Client,
    count: u64,
}

impl Visitor {
    /// Reads what was written elsewhere, and writes.
    fn use_on(&mut self, node: SocketAddr) -> Result<()> {
        self.expect(node, "/get?k=colour", "blue")?;
        self.count += 1;
        let count = self.count.to_string();
        self.expect(node, "/incr", &count)
    }

    fn expect(&mut self, node: SocketAddr, path: &str, body: &str) -> Result<()> {
        let answer = self.client.get(node, path).with_context(|| path.to_owned())?;
        let is_right = answer.status == 200 && answer.body == body;
        ensure!(is_right, "{path} gave {answer:?}, expected {body}");
        let ack = answer.ack();
        ensure!(ack.is_none_or(|(got, asked)| got == asked), "{path} was acknowledged by {ack:?}");
        Ok(())
    }
}
