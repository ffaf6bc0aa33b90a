//! How this process becomes a member, stays one, and leaves: one task between the network, the
//! shards and Raft. The decisions themselves are made by pure machines of `membership` and
//! `protocol`; here they are asked again and again what is to be done, and it is done.
//!
//! ```text
//!  seeds ─► book ─► links ─► news ─► bootstrap ─► voter (with a directory)
//!                              │                     │ proposes, decides
//!                              └────► chart ◄────────┘
//!                                       │
//!                          driver: view ─► shards ─► synced, suspects ─► proposals
//! ```
//!
//! Nothing that a request waits for happens here.

mod book;
mod charts;
mod courier;
mod duties;
mod entering;
mod progress;
mod proposals;
mod recovery;
mod telling;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use membership::bootstrap::Bootstrap;
use membership::suspects::{SuspectPolicy, Suspects};
use membership::{Chart, Group, Letter, News, ProposeError, Store, Voter};
use protocol::{Decision, MemberName, View, Zone};
use session::Inc;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use transport::{NodeName, PeerAddress};

use crate::config::{ClusterSection, ReplicationSection};
use crate::driver::{Driver, Notice};
use crate::links::member_name;
use crate::tasks::Fatal;
use book::{Book, Found};
use courier::Courier;
pub(crate) use progress::Progress;

/// How often everything is looked at.
const TICK: Duration = Duration::from_millis(100);

/// So long a decision is waited for before it is asked for anew.
const PATIENCE: Duration = Duration::from_secs(3);

/// Between two proposals of the same decision.
const PAUSE: Duration = Duration::from_millis(200);

/// Notices that wait for this task. A letter beyond that is dropped, and told again.
pub(crate) const NOTICES_MAX: usize = 4_096;

/// Orders that wait for this task.
const ORDERS_MAX: usize = 64;

/// Requests of others that this voter works on at once. Most are Raft's, one for each other voter.
const REQUESTS_MAX: usize = 256;

/// What this process is as a node.
#[derive(Clone, Debug)]
pub(crate) struct Me {
    pub(crate) name: NodeName,
    /// Where the others reach it.
    pub(crate) address: String,
    pub(crate) zone: Zone,
    /// The number that it has drawn.
    pub(crate) start: u64,
    /// What it is configured for.
    pub(crate) replication: ReplicationSection,
}

/// What is asked of this task from within the process.
#[derive(Debug)]
pub(crate) enum Order {
    /// Hand over what this node holds, and leave; answered when it has left.
    Leave(oneshot::Sender<()>),
    /// Have a decision made.
    Decide(Decision, oneshot::Sender<Result<u64, ProposeError>>),
    /// Make membership anew with those that this node reaches; answered with their names.
    Recover(oneshot::Sender<Result<Vec<String>, String>>),
    /// End; answered when the Raft directory is closed.
    Stop(oneshot::Sender<()>),
}

/// The handle of the task.
#[derive(Debug)]
pub(crate) struct Agreement {
    orders: mpsc::Sender<Order>,
    progress: watch::Receiver<Progress>,
}

impl Agreement {
    /// The task, and the handle of it.
    pub(crate) fn new(
        driver: &Arc<Driver>,
        me: Me,
        cluster: &ClusterSection,
        store: Option<Store>,
        fatal: &Fatal,
        notices: mpsc::Receiver<Notice>,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (orders, ordered) = mpsc::channel(ORDERS_MAX);
        let (told, progress) = watch::channel(Progress::default());
        let steward = Steward::new(driver.clone(), me, cluster.clone(), store, fatal, told);
        (Self { orders, progress }, steward.run(notices, ordered))
    }

    pub(crate) fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// Hands over what this node holds, and leaves. Returns when it is no member any more.
    pub(crate) async fn leave(&self) {
        self.order(Order::Leave).await;
    }

    /// Ends the task and closes the Raft directory.
    pub(crate) async fn stop(&self) {
        self.order(Order::Stop).await;
    }

    async fn order(&self, order: impl FnOnce(oneshot::Sender<()>) -> Order) {
        let (done, is_done) = oneshot::channel();
        // Either fails only if the task has ended, and then there is nothing to wait for.
        if self.orders.send(order(done)).await.is_ok() {
            let _ = is_done.await;
        }
    }

    /// Makes membership anew with those that this node reaches, because the majority of the voters
    /// is lost for good; their names.
    pub(crate) async fn recover(&self) -> Result<Vec<String>, String> {
        let (done, is_done) = oneshot::channel();
        let ended = || "this node is being stopped".to_owned();
        self.orders.send(Order::Recover(done)).await.map_err(|_| ended())?;
        is_done.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Has a decision made by whoever leads.
    pub(crate) async fn decide(&self, decision: Decision) -> Result<u64, ProposeError> {
        let (done, is_done) = oneshot::channel();
        match self.orders.send(Order::Decide(decision, done)).await {
            Ok(()) => is_done.await.unwrap_or(Err(ProposeError::Unknown)),
            Err(_) => Err(ProposeError::NoLeader),
        }
    }
}

/// A decision that this node has made, at most one of each at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Begin,
    Join,
    Synced(u64),
    Drain,
    Leave,
    Remove(Inc),
    Voters,
}

/// How a proposal ended.
enum Done {
    Decided(What, Result<u64, ProposeError>),
    /// The voters were changed, or not; it is looked at again anyway.
    Voters,
}

/// What was heard of another node last.
struct Heard {
    at: Instant,
    /// Since when it is heard without a break.
    since: Instant,
    news: News,
}

impl Heard {
    /// True if it leads: whoever does tells everybody twice a second.
    fn leads(&self) -> bool {
        self.news.leads && !duties::is_silent(self.at, Instant::now())
    }
}

/// The task.
struct Steward {
    driver: Arc<Driver>,
    courier: Arc<Courier>,
    me: Me,
    cluster: ClusterSection,
    fatal: Fatal,
    told: watch::Sender<Progress>,
    begin: Instant,
    /// With a Raft directory: how it stands.
    directory: Option<(Store, Bootstrap)>,
    voter: Option<Arc<Voter>>,
    views: Option<watch::Receiver<Arc<View>>>,
    start_at: Instant,
    requests: Arc<Semaphore>,
    chart: Option<Chart>,
    chart_asked: Option<Instant>,
    book: Book,
    linked_with: Vec<PeerAddress>,
    wants_seeds: Arc<AtomicBool>,
    found: mpsc::Receiver<Found>,
    heard: BTreeMap<MemberName, Heard>,
    /// For how many ticks a node that no heartbeats come from has told nothing.
    silent_ticks: BTreeMap<NodeName, u32>,
    news_at: Instant,
    news: Option<News>,
    /// How many times the same news has been told again.
    told_again: u32,
    suspects: Suspects,
    /// Members that have answered since they are members, and when others became ones.
    met: BTreeSet<Inc>,
    unmet: BTreeMap<Inc, Instant>,
    suspected: BTreeSet<Inc>,
    proposals: JoinSet<Done>,
    in_flight: BTreeSet<What>,
    not_before: BTreeMap<What, Instant>,
    synced: BTreeSet<u64>,
    /// Whose going costs sessions that nobody else has; that is accepted, loudly.
    given_up: BTreeSet<Inc>,
    was_member: bool,
    leaving: Vec<oneshot::Sender<()>>,
    /// True once it was tried to tell the others that this node leaves.
    has_said_goodbye: bool,
    /// True once all have been members that vote first, as far as this node has seen.
    has_begun: bool,
    is_leaving: bool,
    looks_for_seeds: tokio::task::AbortHandle,
}

impl Drop for Steward {
    fn drop(&mut self) {
        self.looks_for_seeds.abort();
    }
}

impl Steward {
    fn new(
        driver: Arc<Driver>,
        me: Me,
        cluster: ClusterSection,
        store: Option<Store>,
        fatal: &Fatal,
        told: watch::Sender<Progress>,
    ) -> Self {
        let (finder, found) = mpsc::channel(ORDERS_MAX);
        let wants_seeds = Arc::new(AtomicBool::new(true));
        let seeds = cluster.seeds.clone();
        let endpoint = driver.endpoint.clone();
        let looks = book::look_for_seeds(endpoint, seeds, wants_seeds.clone(), finder);
        let looks_for_seeds = tokio::spawn(looks).abort_handle();
        let directory = store.and_then(|store| {
            let bootstrap = entering::bootstrap(&store, &me, &cluster);
            bootstrap.inspect_err(|error| fatal.note(error.to_string())).ok().map(|b| (store, b))
        });
        let now = Instant::now();
        Self {
            courier: Arc::new(Courier::new(&driver)),
            driver,
            me,
            cluster,
            fatal: fatal.clone(),
            told,
            begin: now,
            directory,
            voter: None,
            views: None,
            start_at: now,
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
            chart: None,
            chart_asked: None,
            book: Book::default(),
            linked_with: Vec::new(),
            wants_seeds,
            found,
            heard: BTreeMap::new(),
            silent_ticks: BTreeMap::new(),
            news_at: now,
            news: None,
            told_again: 0,
            suspects: Suspects::new(SuspectPolicy::default()),
            met: BTreeSet::new(),
            unmet: BTreeMap::new(),
            suspected: BTreeSet::new(),
            proposals: JoinSet::new(),
            in_flight: BTreeSet::new(),
            not_before: BTreeMap::new(),
            synced: BTreeSet::new(),
            given_up: BTreeSet::new(),
            was_member: false,
            leaving: Vec::new(),
            has_said_goodbye: false,
            has_begun: false,
            is_leaving: false,
            looks_for_seeds,
        }
    }

    async fn run(mut self, mut notices: mpsc::Receiver<Notice>, mut orders: mpsc::Receiver<Order>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                notice = notices.recv() => {
                    let Some(notice) = notice else { return };
                    if !self.handle_notice(notice) {
                        continue;
                    }
                }
                order = orders.recv() => match order {
                    Some(Order::Leave(done)) => {
                        self.is_leaving = true;
                        self.leaving.push(done);
                    }
                    Some(Order::Decide(decision, done)) => self.decide(decision, done),
                    Some(Order::Recover(done)) => {
                        let _ = done.send(self.recover().await);
                    }
                    Some(Order::Stop(done)) => {
                        if let Some(voter) = self.voter.take() {
                            voter.stop().await;
                        }
                        let _ = done.send(());
                        return;
                    }
                    None => return,
                },
                Some(found) = self.found.recv() => {
                    self.book.note_seed(found);
                }
                Some(done) = self.proposals.join_next(), if !self.proposals.is_empty() => {
                    match done {
                        Ok(Done::Decided(what, result)) => self.handle_decided(what, &result),
                        Ok(Done::Voters) => self.note_done(What::Voters, PAUSE),
                        Err(_) => {}
                    }
                }
                () = changed(&mut self.views) => {}
                _ = ticks.tick() => self.handle_tick(),
            }
            self.advance().await;
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// True if anything may have to be done now.
    fn handle_notice(&mut self, notice: Notice) -> bool {
        match notice {
            // It is told everything at once.
            Notice::Up(peer) => self.tell(&peer),
            Notice::Down(peer) => {
                self.courier.handle_down(&peer);
                if let Some(heard) = self.heard.get_mut(&member_name(&peer)) {
                    heard.news.leads = false;
                }
            }
            Notice::Look => {}
            Notice::Letter(peer, bytes) => match Letter::from_bytes(&bytes) {
                Some(letter) => return self.handle_letter(&peer, letter),
                None => {
                    self.driver.meters.frames_undecodable.count();
                    self.driver.endpoint.disconnect(&peer, "a letter that cannot be read");
                }
            },
        }
        true
    }

    fn handle_letter(&mut self, peer: &NodeName, letter: Letter) -> bool {
        match letter {
            Letter::News(news) => self.handle_news(peer, news),
            Letter::WantChart => {
                if let Some(chart) = &self.chart {
                    self.driver.send_letter(peer, &Letter::Chart(Box::new(chart.clone())));
                }
                return false;
            }
            Letter::Chart(chart) => self.hear_chart(peer, *chart),
            Letter::Ask { number, request } => {
                self.answer(peer, number, request);
                return false;
            }
            Letter::Answer { number, answer } => {
                self.courier.handle_answer(peer, number, answer);
                return false;
            }
        }
        true
    }

    fn handle_news(&mut self, peer: &NodeName, news: News) {
        let (name, now, now_ms) = (member_name(peer), Instant::now(), self.now_ms());
        self.silent_ticks.remove(peer);
        let introduction = news.introduction(name.clone());
        let introduction = introduction.filter(|said| self.heeds(said.standing.group()));
        if let (Some((_, bootstrap)), Some(introduction)) = (&mut self.directory, introduction) {
            bootstrap.handle_introduction(introduction);
        }
        if let Some(inc) = self.driver.links.inc_of(peer) {
            self.suspects.handle_report(inc, news.suspects.clone(), now_ms);
        }
        if let Some(seen) = news.seen.filter(|seen| !self.knows(*seen)) {
            self.ask_for_chart(peer, seen, now);
        }
        let before = self.heard.get(&name).filter(|heard| !duties::is_silent(heard.at, now));
        let since = before.map_or(now, |heard| heard.since);
        self.heard.insert(name, Heard { at: now, since, news });
    }

    /// A request for this node's voter. One that waits for too many others is dropped, and one of a
    /// node that may not join yet: whoever asks gives up by itself.
    fn answer(&self, peer: &NodeName, number: u64, request: Vec<u8>) {
        let Some(voter) = self.voter.clone() else { return };
        let name = member_name(peer);
        if self.suspects.wait_to_join(&name, self.now_ms()).is_some() {
            return;
        }
        let Ok(permit) = self.requests.clone().try_acquire_owned() else { return };
        let (driver, peer) = (self.driver.clone(), peer.clone());
        tokio::spawn(async move {
            let answer = voter.handle_request(&name, &request).await;
            driver.send_letter(&peer, &Letter::Answer { number, answer });
            drop(permit);
        });
    }

    /// The group of this node's directory.
    fn group(&self) -> Option<Group> {
        self.directory.as_ref()?.1.introduction().standing.group()
    }

    /// Does what is to be done now.
    async fn advance(&mut self) {
        self.advance_generation().await;
        self.advance_bootstrap().await;
        if let Some(chart) = self.voter.as_ref().and_then(|voter| voter.chart()) {
            self.take_chart(chart);
        }
        if let (Some(voter), Some(chart)) = (&self.voter, &self.chart) {
            voter.heed(chart);
        }
        self.advance_member();
        self.link();
        self.tell_all();
        self.tell_progress();
    }
}

/// Until a later view is there; never without a voter.
async fn changed(views: &mut Option<watch::Receiver<Arc<View>>>) {
    if let Some(changes) = views
        && changes.changed().await.is_ok()
    {
        return;
    }
    *views = None;
    std::future::pending::<()>().await;
}
