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
mod courier;
mod duties;
mod progress;
mod recovery;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use membership::bootstrap::{Bootstrap, Claimant, Standing, Step};
use membership::suspects::{SuspectPolicy, Suspects};
use membership::{
    Chart, Group, Letter, News, Outsider, Place, ProposeError, Seen, Settings, Store, Voter,
};
use protocol::{Copies, Decision, MemberName, Refused, View, Zone};
use session::Inc;
use smol_str::SmolStr;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use transport::{NodeName, PeerAddress};

use crate::config::{ClusterSection, described};
use crate::driver::{Driver, Notice};
use crate::links::member_name;
use crate::tasks::Fatal;
use book::{Book, Found};
use courier::Courier;
pub(crate) use progress::Progress;

/// How often everything is looked at.
const TICK: Duration = Duration::from_millis(100);

/// News is told again after so long, also if it is none.
const NEWS_INTERVAL: Duration = Duration::from_millis(500);

/// A chart that was asked for is asked for again after so long.
const CHART_INTERVAL: Duration = Duration::from_millis(200);

/// So long a decision is waited for before it is asked for anew.
const PATIENCE: Duration = Duration::from_secs(3);

/// Between two proposals of the same decision.
const PAUSE: Duration = Duration::from_millis(200);

/// A voter that did not start is started again after so long.
const RESTART_INTERVAL: Duration = Duration::from_secs(1);

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
    /// How many copies it is configured for.
    pub(crate) copies: Copies,
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
    news_at: Instant,
    news: Option<News>,
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
            let bootstrap = bootstrap(&store, &me, &cluster);
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
            news_at: now,
            news: None,
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
                        Ok(Done::Decided(what, result)) => self.handle_decided(what, result),
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
                    let letter = Letter::Chart(Box::new(chart.clone()));
                    self.driver.send_letter(peer, letter.to_bytes());
                }
                return false;
            }
            Letter::Chart(chart) => self.take_chart(*chart),
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
        if let (Some((_, bootstrap)), Some(introduction)) =
            (&mut self.directory, news.introduction(name.clone()))
        {
            bootstrap.handle_introduction(introduction);
        }
        if let Some(inc) = self.driver.links.inc_of(peer) {
            self.suspects.handle_report(inc, news.suspects.clone(), now_ms);
        }
        if news.seen > self.chart.as_ref().map(Chart::seen) {
            self.ask_for_chart(peer, now);
        }
        let before = self.heard.get(&name).filter(|heard| !duties::is_silent(heard.at, now));
        let since = before.map_or(now, |heard| heard.since);
        self.heard.insert(name, Heard { at: now, since, news });
    }

    fn ask_for_chart(&mut self, peer: &NodeName, now: Instant) {
        let asked = self.chart_asked.is_some_and(|at| now.duration_since(at) < CHART_INTERVAL);
        if !asked && self.driver.send_letter(peer, Letter::WantChart.to_bytes()) {
            self.chart_asked = Some(now);
        }
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
            driver.send_letter(&peer, Letter::Answer { number, answer }.to_bytes());
            drop(permit);
        });
    }

    /// Somebody knows more of the cluster than this node did.
    fn take_chart(&mut self, chart: Chart) {
        let known = self.chart.as_ref().map(Chart::seen);
        if !chart.is_sound() || known.is_some_and(|known| known >= chart.seen()) {
            return;
        }
        let own = self.group();
        let is_foreign =
            |group: Group| group != chart.group && group.generation >= chart.group.generation;
        if own.is_some_and(is_foreign) || known.is_some_and(|known| is_foreign(known.group)) {
            return;
        }
        self.chart_asked = None;
        self.suspects.handle_view(&chart.view, self.now_ms());
        self.book.note_view(&chart.view, &chart.voters);
        self.driver.handle_view(&chart.view);
        self.was_member |= self.driver.is_member();
        self.chart = Some(chart);
    }

    /// The group of this node's directory.
    fn group(&self) -> Option<Group> {
        match self.directory.as_ref()?.1.introduction().standing {
            Standing::Inside(group) => Some(group),
            Standing::Outside { .. } => None,
        }
    }

    /// Does what is to be done now.
    async fn advance(&mut self) {
        self.advance_generation().await;
        self.advance_bootstrap().await;
        if let Some(chart) = self.voter.as_ref().and_then(|voter| voter.chart()) {
            self.take_chart(chart);
        }
        self.advance_member();
        self.link();
        self.tell_all();
        self.tell_progress();
    }

    async fn advance_bootstrap(&mut self) {
        while let Some((store, bootstrap)) = &mut self.directory {
            let standing = match bootstrap.step() {
                Step::Wait(_) => return,
                Step::Done { .. } => return self.start_voter().await,
                Step::Write(standing) => standing,
                Step::Join { group, .. } => Standing::Inside(group),
            };
            let (to, written) = (store.clone(), standing.clone());
            let written = tokio::task::spawn_blocking(move || to.write_standing(written)).await;
            match written {
                Ok(Ok(())) => bootstrap.written(standing),
                Ok(Err(error)) => {
                    tracing::error!("the Raft directory cannot be written: {error}");
                    return;
                }
                Err(_) => return,
            }
        }
    }

    async fn start_voter(&mut self) {
        let Some((store, _)) = &self.directory else { return };
        if self.voter.is_some() || Instant::now() < self.start_at {
            return;
        }
        self.start_at = Instant::now() + RESTART_INTERVAL;
        let place = Place { name: member_name(&self.me.name), zone: self.me.zone.clone() };
        let link = self.courier.clone();
        match Voter::start(store.clone(), place, link, Settings::default()).await {
            Ok(voter) => {
                self.views = Some(voter.views());
                self.voter = Some(Arc::new(voter));
            }
            Err(error) => tracing::error!("this node cannot vote: {error}"),
        }
    }

    /// What this node has decided for itself: to begin, to join, that it has caught up, to leave.
    fn advance_member(&mut self) {
        let own = self.driver.own_inc();
        let Some(chart) = &self.chart else {
            if let (Some(group), true) = (self.group(), self.leads()) {
                let (generation, copies) = (group.generation, self.me.copies);
                self.propose(What::Begin, Decision::Begin { generation, copies });
            }
            return;
        };
        match own {
            None if self.is_leaving => self.leaving.drain(..).for_each(|done| {
                let _ = done.send(());
            }),
            None => self.join(),
            Some(inc) => {
                self.synced.retain(|epoch| chart.view.layouts.iter().any(|l| l.epoch == *epoch));
                let synced = self.driver.synced_epochs();
                for epoch in synced
                    .into_iter()
                    .filter(|epoch| !self.synced.contains(epoch))
                    .collect::<Vec<_>>()
                {
                    self.propose(What::Synced(epoch), Decision::Synced { inc, epoch });
                }
                if self.is_leaving {
                    self.advance_leaving(inc);
                }
            }
        }
    }

    fn join(&mut self) {
        let Some(chart) = &self.chart else { return };
        let running = chart.view.layouts.last().map(|layout| layout.copies);
        if let Some(running) =
            running.filter(|copies| *copies != self.me.copies && !self.was_member)
        {
            self.fatal.note(format!(
                "this node is configured for {}, but the cluster runs with {}: configure it alike, \
                 or change the cluster with `replica-node mode`",
                described(self.me.copies),
                described(running),
            ));
            return;
        }
        let join = Decision::Join {
            name: member_name(&self.me.name),
            address: SmolStr::from(&self.me.address),
            zone: self.me.zone.clone(),
            start: self.me.start,
        };
        self.propose(What::Join, join);
    }

    // --- decisions ---

    fn leads(&self) -> bool {
        let status = self.voter.as_ref().map(|voter| voter.status());
        status.and_then(|status| status.raft).is_some_and(|raft| duties::is_leading(&raft))
    }

    fn propose(&mut self, what: What, decision: Decision) {
        let waits = self.not_before.get(&what).is_some_and(|at| Instant::now() < *at);
        if waits || !self.in_flight.insert(what) {
            return;
        }
        tracing::debug!("proposing {decision:?}");
        let decided = self.decided(decision);
        self.proposals.spawn(async move { Done::Decided(what, decided.await) });
    }

    fn decide(&self, decision: Decision, done: oneshot::Sender<Result<u64, ProposeError>>) {
        let decided = self.decided(decision);
        tokio::spawn(async move {
            let _ = done.send(decided.await);
        });
    }

    /// Has a decision made: by this node's voter, if it leads; else by asking the voter that has said
    /// that it does, or all. What this node's own Raft knows of a leader may be of long ago: once it
    /// does not vote any more, nobody tells it anything.
    fn decided(
        &self,
        decision: Decision,
    ) -> impl Future<Output = Result<u64, ProposeError>> + Send + use<> {
        let voter = self.voter.clone().filter(|_| self.leads());
        let courier = self.courier.clone();
        let own_name = member_name(&self.me.name);
        let leads = |name: &MemberName| self.heard.get(name).is_some_and(|heard| heard.news.leads);
        let voters = self.chart.as_ref().map(|chart| {
            let others = chart.voters.iter().filter(|(_, place)| place.name != own_name);
            let others: BTreeMap<_, _> = others.map(|(id, place)| (*id, place.clone())).collect();
            let mut leaders = others.clone();
            leaders.retain(|_, place| leads(&place.name));
            (chart.group, if leaders.is_empty() { others } else { leaders })
        });
        async move {
            match (voter, voters) {
                (Some(voter), _) => voter.propose(decision, PATIENCE).await,
                (None, Some((group, voters))) => {
                    Outsider::new(courier, group).propose(&voters, &decision, PATIENCE).await
                }
                (None, None) => Err(ProposeError::NoLeader),
            }
        }
    }

    fn note_done(&mut self, what: What, pause: Duration) {
        self.in_flight.remove(&what);
        self.not_before.retain(|_, at| *at > Instant::now());
        self.not_before.insert(what, Instant::now() + pause);
    }

    fn handle_decided(&mut self, what: What, result: Result<u64, ProposeError>) {
        let is_so = match &result {
            Ok(_) => true,
            Err(ProposeError::Refused { why, .. }) => {
                matches!(why, Refused::NoNews | Refused::NoMember | Refused::OutOfPlace)
            }
            Err(ProposeError::NoLeader | ProposeError::Unknown) => false,
        };
        match (what, &result) {
            (What::Synced(epoch), _) if is_so => {
                self.synced.insert(epoch);
            }
            (
                What::Remove(inc),
                Err(ProposeError::Refused { why: Refused::WouldLose(slots), .. }),
            ) => {
                let slots = slots.len();
                tracing::error!("removing {} loses {slots} slots of 4096: it was the last", inc.0);
                self.given_up.insert(inc);
            }
            (What::Join, Err(error)) => {
                tracing::warn!("this node has not been let in yet: {error}")
            }
            _ => {}
        }
        self.note_done(what, PAUSE);
    }

    // --- who is told ---

    fn link(&mut self) {
        let linked = self.driver.linked();
        let wants_seeds = linked.is_empty() || self.book.needs_seeds();
        self.wants_seeds.store(wants_seeds, Ordering::Relaxed);
        let peers = self.book.peers(&linked);
        if peers != self.linked_with {
            self.driver.endpoint.set_peers(peers.clone());
            self.linked_with = peers;
        }
    }

    fn own_news(&self) -> News {
        let directory = self.directory.as_ref().map(|(_, bootstrap)| {
            let introduction = bootstrap.introduction();
            (introduction.from.raft_id, introduction.standing)
        });
        let seen: Option<Seen> = self.chart.as_ref().map(Chart::seen);
        News { directory, seen, suspects: self.suspected.clone(), leads: self.leads() }
    }

    fn tell(&self, peer: &NodeName) {
        self.driver.send_letter(peer, Letter::News(self.own_news()).to_bytes());
    }

    /// Tells everybody, if there is news or it is time.
    fn tell_all(&mut self) {
        let (news, now) = (self.own_news(), Instant::now());
        if self.news.as_ref() == Some(&news) && now < self.news_at {
            return;
        }
        let letter = Letter::News(news.clone()).to_bytes();
        for peer in self.driver.linked() {
            self.driver.send_letter(&peer, letter.clone());
        }
        self.news = Some(news);
        self.news_at = now + NEWS_INTERVAL;
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
    std::future::pending().await
}

fn bootstrap(
    store: &Store,
    me: &Me,
    cluster: &ClusterSection,
) -> Result<Bootstrap, membership::bootstrap::BootstrapError> {
    let identity = store.identity();
    let claimant = Claimant { name: member_name(&me.name), raft_id: identity.raft_id };
    let is_seed = cluster.seeds.iter().any(|seed| seed.to_string() == me.address);
    let nodes = cluster.seeds.len() + usize::from(!is_seed);
    Bootstrap::new(claimant, identity.standing, nodes, cluster.expect)
}
