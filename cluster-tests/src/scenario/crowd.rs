//! Many sessions that nobody touches: they are there before something happens, and looked for
//! afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, ensure};
use session::{SessionId, Slot};

use super::{Row, Watch};
use crate::client::{Answer, Client, Failure, Jar};
use crate::cluster::{Cluster, name};

/// Sessions that are begun, or looked at, at the same time.
const AT_ONCE: usize = 8;

/// How often it is said how many there are.
const SAY: usize = 2_000;

/// Missing sessions that are named.
const NAMED_MAX: usize = 5;

/// Sessions, each with its number in it.
#[derive(Debug)]
pub(super) struct Crowd {
    jars: Vec<(usize, Jar)>,
}

/// What a session of the crowd was like when it was looked at.
enum Found {
    Well,
    Missing(String),
    Wrong(String),
    Failed(String),
}

impl Crowd {
    /// Begins so many sessions, spread over the nodes, each of a user of its own.
    pub(super) fn enter(cluster: &Cluster, count: usize, watch: &Watch) -> Result<Self> {
        Self::enter_as(cluster, count, watch, |number| format!("c{number}"))
    }

    /// The same of users by the numbers of the sessions.
    pub(super) fn enter_as(
        cluster: &Cluster,
        count: usize,
        watch: &Watch,
        user: impl Fn(usize) -> String + Sync,
    ) -> Result<Self> {
        let (nodes, addresses) = (cluster.running(), cluster.addresses());
        let entered = each(
            count,
            |number, client| {
                client.jar.clear();
                let node = nodes[number % nodes.len()];
                let path = format!("/login?user={}&k0={number}", user(number));
                let answer = client.get(addresses.of(node), &path)?;
                ensure!(answer.status == 200, "a session did not begin: {answer:?}");
                Ok((number, client.jar.clone()))
            },
            |done| watch.say(&format!("{done} of {count} sessions have begun")),
        );
        Ok(Self { jars: entered.into_iter().collect::<Result<_>>()? })
    }

    pub(super) const fn len(&self) -> usize {
        self.jars.len()
    }

    /// The numbers of the sessions in each slot.
    pub(super) fn by_slot(&self) -> Result<BTreeMap<Slot, Vec<usize>>> {
        let mut numbers: BTreeMap<Slot, Vec<usize>> = BTreeMap::new();
        for (number, jar) in &self.jars {
            let id = jar.values().find_map(|value| value.parse::<SessionId>().ok());
            let id = id.with_context(|| format!("c{number} has no session id"))?;
            numbers.entry(id.key().slot()).or_default().push(*number);
        }
        Ok(numbers)
    }

    /// Looks for each of them on a node, another one for each.
    pub(super) fn check(&self, cluster: &Cluster, row: &mut Row) {
        row.sessions += self.jars.len() as u64;
        row.writes += self.jars.len() as u64;
        self.check_without(cluster, &BTreeSet::new(), row);
    }

    /// The same once those of these numbers must be gone: every node has to say that they are.
    pub(super) fn check_without(&self, cluster: &Cluster, gone: &BTreeSet<usize>, row: &mut Row) {
        let (nodes, addresses) = (cluster.running(), cluster.addresses());
        let found = each(
            self.jars.len(),
            |index, client| {
                let (number, jar) = &self.jars[index];
                client.jar = jar.clone();
                let mut get = |node| (node, client.get(addresses.of(node), "/get?k=k0"));
                if gone.contains(number) {
                    return judge_gone(*number, nodes.iter().map(|node| get(*node)));
                }
                let (node, answer) = get(nodes[(number / nodes.len()) % nodes.len()]);
                judge(*number, node, answer)
            },
            |_| (),
        );
        for found in found {
            let (count, what) = match found {
                Found::Well => continue,
                Found::Missing(what) => (&mut row.lost, what),
                Found::Wrong(what) => (&mut row.stale, what),
                Found::Failed(what) => (&mut row.failed, what),
            };
            *count += 1;
            if row.problems.len() < NAMED_MAX {
                row.object(what);
            }
        }
    }
}

/// What an answer says of a session that is to be there.
fn judge(number: usize, node: usize, answer: Result<Answer, Failure>) -> Found {
    let what = format!("c{number} on {}", name(node));
    match answer {
        Ok(answer) if answer.status == 200 && answer.body == number.to_string() => Found::Well,
        Ok(answer) if answer.status == 401 => Found::Missing(what),
        Ok(answer) if answer.status == 200 || answer.status == 404 => {
            Found::Wrong(format!("{what}: {}", answer.body))
        }
        Ok(answer) => Found::Failed(format!("{what}: {}", answer.body)),
        Err(failure) => Found::Failed(format!("{what}: {failure}")),
    }
}

/// What all nodes say of a session that nobody holds any more: that there is none, and not that
/// they cannot tell.
fn judge_gone(
    number: usize,
    answers: impl Iterator<Item = (usize, Result<Answer, Failure>)>,
) -> Found {
    for (node, answer) in answers {
        match judge(number, node, answer) {
            Found::Missing(_) => {}
            Found::Well => {
                return Found::Wrong(format!("c{number} is on {}, of all nodes", name(node)));
            }
            other @ (Found::Wrong(_) | Found::Failed(_)) => return other,
        }
    }
    Found::Well
}

/// Does something for each number, several at once.
fn each<T: Send>(
    count: usize,
    work: impl Fn(usize, &mut Client) -> T + Sync,
    say: impl Fn(usize),
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let (next, work) = (&next, &work);
    let one = move || {
        let mut client = Client::new();
        let mut results = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return results;
            }
            results.push(work(number, &mut client));
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(one)).collect();
        let mut said = 0;
        while !workers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            let done = next.load(Ordering::Relaxed).min(count);
            if done >= said + SAY {
                said = done;
                say(done);
            }
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker panicked")).collect()
    })
}
