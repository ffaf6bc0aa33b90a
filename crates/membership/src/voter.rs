//! A voter: the handle by which the rest of a node proposes decisions, watches views, and asks how
//! things stand. It forwards to the leader whatever only a leader can do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::error::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::raft::AppendEntriesRequest;
use openraft::{ChangeMembers, ServerState, Snapshot};
use parking_lot::Mutex;
use protocol::{Copies, Decision, MemberName, Refused, View};
use smol_str::SmolStr;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::letter::Chart;
use crate::link::Link;
use crate::network::{Network, Way};
use crate::raft_types::{Group, Outcome, Place, RaftId, TypeConfig};
use crate::settings::Settings;
use crate::store::Store;
use crate::supervisor::{self, LaunchError, Raft, Shared, Told};
use crate::voters::VoterChange;
use crate::wire::{self, Answer, Header, Proposed, Refusal, Request};

/// A learner that lacks at most so many entries has caught up: the next ones reach it as they are
/// made.
const CAUGHT_UP_ENTRIES: u64 = 16;

/// Why a voter does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The directory belongs to no Raft group yet. Bootstrap first.
    #[error("the Raft directory belongs to no cluster yet: bootstrap comes first")]
    Outside,
    /// openraft did not start.
    #[error(transparent)]
    Launch(#[from] LaunchError),
}

/// Why a decision was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// It is in the log and changed nothing. `why` says what to do instead.
    #[error("refused: {why}")]
    Refused {
        /// Its index in the log.
        index: u64,
        /// Why.
        why: Refused,
    },
    /// It was not proposed: nobody leads, or nobody who leads was reached. Try again.
    #[error("no voter leads at present; nothing was decided")]
    NoLeader,
    /// It was proposed, and it is not known what became of it: it may be made later. Look at the
    /// view, or propose it again; the roster recognises what was said before.
    #[error("the leader has not answered in time; the decision may be made later")]
    Unknown,
}

/// Why the voters were not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Only the leader changes voters. The leader looks itself; nothing to do.
    #[error("this voter does not lead")]
    NotLeader,
    /// Another change is under way. Look again later.
    #[error("the voters are being changed already")]
    InProgress,
    /// The change does not fit the voters of now. Look again.
    #[error("the change does not fit the present voters")]
    Unfit,
    /// It is not known whether it will be made. Look again later.
    #[error("the change has not been agreed on in time; it may be later")]
    Unknown,
}

/// How a voter stands, for people and for `voters.rs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Which voter this is.
    pub raft_id: RaftId,
    /// What Raft says, unless it does not run.
    pub raft: Option<RaftStatus>,
    /// Why it does not run, or did not lately: a full disk, as a rule. Or that it runs on a disk that
    /// is slow.
    pub trouble: Option<SmolStr>,
    /// True once a voter of this group has answered that it is of a later generation: the cluster was
    /// made anew without this group, which takes no decisions any more. The remedy is to end the node, to move its Raft
    /// directory away, and to start it again.
    pub is_outdated: bool,
    /// True if it was replaced while it was away, as others know ([`Voter::heed`]): it does not stand
    /// for election. Whoever makes it a voter again tells it by Raft.
    pub is_replaced: bool,
}

/// What Raft says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaftStatus {
    /// Who leads, as far as this voter knows.
    pub leader: Option<RaftId>,
    /// True if this voter does, and hears from a majority.
    pub is_leader: bool,
    /// Raft's term.
    pub term: u64,
    /// Index of the last entry that has been applied here.
    pub applied: Option<u64>,
    /// For a leader: milliseconds since a majority has last answered.
    pub quorum_ack_ms: Option<u64>,
    /// True while a change of the voters is under way.
    pub is_joint: bool,
    /// Who votes.
    pub voters: BTreeMap<RaftId, Place>,
    /// Who is told the log and does not vote.
    pub learners: BTreeMap<RaftId, Place>,
    /// For a leader: who has all of the log, but for the latest entries.
    pub caught_up: BTreeSet<RaftId>,
}

/// A running voter. It ends with [`Self::stop`], or when it is dropped.
pub struct Voter {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    /// Taken by `stop`.
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

impl Voter {
    /// Starts the voter of that directory, which has to belong to a group. Those that vote first
    /// know so from its founding; whoever joins is told by the leader.
    ///
    /// # Errors
    /// [`StartError`]: not bootstrapped, or the disk fails at once.
    pub async fn start(
        store: Store,
        me: Place,
        link: Arc<dyn Link>,
        settings: Settings,
    ) -> Result<Self, StartError> {
        let identity = store.identity();
        let group = identity.standing.group().ok_or(StartError::Outside)?;
        let raft_id = identity.raft_id;
        let pause = Duration::from_millis(settings.heartbeat_ms);
        let network = Network::new(link, group, raft_id, pause);
        let nothing = View { generation: 0, ..View::fixed([], Copies::All) };
        let views = Arc::new(watch::Sender::new(Arc::new(nothing)));
        let shared = Arc::new(Shared::new(store, me, raft_id, group, network, views, settings));
        shared.launch().await?;
        let (stop, stopped) = watch::channel(false);
        let supervisor = tokio::spawn(supervisor::run(Arc::clone(&shared), stopped));
        Ok(Self { shared, stop, supervisor: Mutex::new(Some(supervisor)) })
    }

    /// Ends the voter; its directory can be opened again when this returns.
    pub async fn stop(&self) {
        // Nobody listens only if the supervisor has ended already.
        let _ = self.stop.send(true);
        let supervisor = self.supervisor.lock().take();
        if let Some(supervisor) = supervisor {
            let _ = supervisor.await;
        }
        self.shared.store.close();
    }

    /// The group that it belongs to.
    #[must_use]
    pub fn group(&self) -> Group {
        self.shared.group
    }

    /// Each new view, as it is agreed on. Of generation 0 until the first is.
    #[must_use]
    pub fn views(&self) -> watch::Receiver<Arc<View>> {
        self.shared.views.subscribe()
    }

    /// What it knows of the cluster; `None` until the first view is agreed on, while its Raft does
    /// not run, and while it does not know that the latest change of the voters is agreed on: others
    /// act on what it says, and a change that is not may be undone.
    #[must_use]
    pub fn chart(&self) -> Option<Chart> {
        let metrics = self.shared.raft()?.metrics().borrow().clone();
        let view = View::clone(&self.shared.views.borrow());
        let config = &metrics.membership_config;
        let membership = config.membership();
        let place = |id: RaftId| Some((id, membership.get_node(&id)?.clone()));
        let voters: BTreeMap<RaftId, Place> = membership.voter_ids().filter_map(place).collect();
        let voters_at = config.log_id().map_or(0, |log| log.index);
        if metrics.last_applied.is_none_or(|applied| applied.index < voters_at) {
            return None;
        }
        let chart = Chart { group: self.shared.group, view, voters, voters_at };
        chart.is_sound().then_some(chart)
    }

    /// Takes what the node knows of its cluster, from whomever. A voter that was replaced while it was
    /// away learns of that in no other way: its own Raft is told nothing any more, and would stand
    /// for election for ever.
    pub fn heed(&self, chart: &Chart) {
        if chart.group == self.shared.group {
            let votes = chart.voters.contains_key(&self.shared.raft_id);
            self.shared.note_told(Told { voters_at: chart.voters_at, votes });
        }
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        let mut raft = self.shared.raft().map(|raft| raft_status(&raft));
        // If it has been replaced meanwhile nobody tells it, and it asks nobody, because it is mute.
        if let Some(raft) = raft.as_mut().filter(|raft| raft.is_leader && self.shared.is_mute()) {
            (raft.is_leader, raft.leader) = (false, None);
        }
        let is_outdated = raft.as_ref().is_some_and(|raft| {
            // Not on the word of one who is to vote and does not yet.
            self.shared.network.is_outdated(raft.voters.keys().copied())
        });
        Status {
            raft_id: self.shared.raft_id,
            raft,
            trouble: self.shared.trouble(),
            is_outdated,
            is_replaced: self.shared.stands_down(),
        }
    }

    /// Has a decision made, by whoever leads; its index in the log if it has changed the view.
    ///
    /// # Errors
    /// [`ProposeError`] says what is known of it after `patience`.
    pub async fn propose(
        &self,
        decision: Decision,
        patience: Duration,
    ) -> Result<u64, ProposeError> {
        let deadline = Instant::now() + patience;
        let mut proposed = self.propose_once(&decision, deadline).await;
        while proposed == Proposed::NotLeader && Instant::now() < deadline {
            self.pause(deadline).await;
            proposed = self.propose_once(&decision, deadline).await;
        }
        result_of(proposed)
    }

    async fn propose_once(&self, decision: &Decision, deadline: Instant) -> Proposed {
        let Some(raft) = self.shared.raft() else { return Proposed::NotLeader };
        let status = raft_status(&raft);
        let Some(leader) = status.leader else { return Proposed::NotLeader };
        if status.is_leader {
            return self.shared.propose_here(&raft, decision.clone(), deadline).await;
        }
        let place = status.voters.get(&leader).or_else(|| status.learners.get(&leader));
        let Some(place) = place else { return Proposed::NotLeader };
        let way = self.shared.network.way_to(leader, place.name.clone());
        ask_to_propose(&way, decision, deadline).await
    }

    /// Until Raft has something new to say, or a moment has passed.
    async fn pause(&self, deadline: Instant) {
        let moment = Duration::from_millis(self.shared.settings.heartbeat_ms);
        let until = deadline.min(Instant::now() + moment);
        tokio::time::sleep_until(until).await;
    }

    /// Changes who votes; only the leader can. Returns when the change is agreed on.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn change_voters(
        &self,
        change: VoterChange,
        patience: Duration,
    ) -> Result<(), ChangeError> {
        let raft = self.shared.raft().ok_or(ChangeError::NotLeader)?;
        let status = raft_status(&raft);
        if !status.is_leader || self.shared.is_mute() {
            return Err(ChangeError::NotLeader);
        }
        let members = match change {
            VoterChange::AddLearner { id, place } => {
                ChangeMembers::AddNodes(BTreeMap::from([(id, place)]))
            }
            VoterChange::Promote { add, instead_of } => {
                let voters = status.voters.into_keys().filter(|id| Some(*id) != instead_of);
                ChangeMembers::ReplaceAllVoters(voters.chain([add]).collect())
            }
            VoterChange::Grow(pair) => {
                let voters = status.voters.into_keys().chain(pair);
                ChangeMembers::ReplaceAllVoters(voters.collect())
            }
            VoterChange::Finish(voters) => ChangeMembers::ReplaceAllVoters(voters),
            VoterChange::RemoveVoter(id) => ChangeMembers::RemoveVoters([id].into()),
            VoterChange::RemoveLearner(id) => ChangeMembers::RemoveNodes([id].into()),
        };
        let changed = tokio::time::timeout(patience, raft.change_membership(members, false)).await;
        match changed {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error)))) => {
                Err(match error {
                    ChangeMembershipError::InProgress(_) => ChangeError::InProgress,
                    ChangeMembershipError::EmptyMembership(_)
                    | ChangeMembershipError::LearnerNotFound(_) => ChangeError::Unfit,
                })
            }
            // It led, so it is not known whether the entry is on its way.
            Ok(Err(
                RaftError::APIError(ClientWriteError::ForwardToLeader(_)) | RaftError::Fatal(_),
            ))
            | Err(_) => Err(ChangeError::Unknown),
        }
    }

    /// Takes a request that the link has brought from the node of that name, and answers it. Bytes
    /// of any kind are answered.
    pub async fn handle_request(&self, from: &MemberName, request: &[u8]) -> Vec<u8> {
        let answer = match self.admit(from, request) {
            Ok((raft, request)) => self.serve(&raft, request).await,
            Err(refusal) => Answer::Refused(refusal),
        };
        wire::encode(wire::version_of(request), &answer)
    }

    fn admit(&self, from: &MemberName, request: &[u8]) -> Result<(Raft, Request), Refusal> {
        let (header, request) = wire::decode::<(Header, Request)>(request)?;
        let ours = self.shared.group;
        if header.group != ours {
            let is_earlier = header.group.generation < ours.generation;
            return Err(if is_earlier { Refusal::Outdated } else { Refusal::Group });
        }
        if header.to != self.shared.raft_id {
            return Err(Refusal::Addressee);
        }
        let raft = self.shared.raft().ok_or(Refusal::Stopped)?;
        let metrics = raft.metrics().borrow().clone();
        let known = metrics.membership_config.membership().get_node(&header.from);
        if known.is_some_and(|place| place.name != *from) {
            return Err(Refusal::Sender);
        }
        if is_sound(&request) { Ok((raft, request)) } else { Err(Refusal::Undecodable) }
    }

    async fn serve(&self, raft: &Raft, request: Request) -> Answer {
        let stopped = Answer::Refused(Refusal::Stopped);
        match request {
            Request::Append(rpc) => raft.append_entries(rpc).await.map_or(stopped, Answer::Append),
            Request::Vote(rpc) => raft.vote(rpc).await.map_or(stopped, Answer::Vote),
            Request::Snapshot { vote, meta, roster } => {
                let snapshot = Snapshot { meta, snapshot: roster };
                let installed = raft.install_full_snapshot(vote, snapshot).await;
                installed.map_or(stopped, |response| Answer::Snapshot { vote: response.vote })
            }
            Request::Propose { decision, wait_ms } => {
                let patience = Duration::from_millis(wait_ms.min(PATIENCE_MS_MAX));
                let deadline = Instant::now() + patience;
                Answer::Proposed(self.shared.propose_here(raft, decision, deadline).await)
            }
        }
    }
}

/// Asks that voter to propose, if it leads.
pub(crate) async fn ask_to_propose(way: &Way, decision: &Decision, deadline: Instant) -> Proposed {
    let patience = deadline.saturating_duration_since(Instant::now());
    let wait_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
    let request = Request::Propose { decision: decision.clone(), wait_ms };
    match way.ask(&request, patience).await {
        Ok(Answer::Proposed(proposed)) => proposed,
        Err(error) if !error.may_have_been_heard() => Proposed::NotLeader,
        Ok(_) | Err(_) => Proposed::Unknown,
    }
}

pub(crate) fn result_of(proposed: Proposed) -> Result<u64, ProposeError> {
    match proposed {
        Proposed::Applied(Outcome { index, refused: None }) => Ok(index),
        Proposed::Applied(Outcome { index, refused: Some(why) }) => {
            Err(ProposeError::Refused { index, why })
        }
        Proposed::NotLeader => Err(ProposeError::NoLeader),
        Proposed::Unknown => Err(ProposeError::Unknown),
    }
}

/// A forwarded decision is waited for at most so long, whatever its sender says, in milliseconds.
const PATIENCE_MS_MAX: u64 = 60_000;

impl Drop for Voter {
    fn drop(&mut self) {
        // The supervisor, if it still runs, shuts Raft down in an orderly way.
        let _ = self.stop.send(true);
    }
}

/// What openraft takes for granted of its peers.
fn is_sound(request: &Request) -> bool {
    match request {
        Request::Append(AppendEntriesRequest { prev_log_id, entries, .. }) => {
            let first = prev_log_id.map_or(Some(0), |id| id.index.checked_add(1));
            let indexes = entries.iter().zip(0_u64..);
            first.is_some_and(|first| {
                indexes
                    .into_iter()
                    .all(|(entry, n)| first.checked_add(n) == Some(entry.log_id.index))
            })
        }
        Request::Snapshot { meta, roster, .. } => {
            let last = meta.last_log_id.map_or(0, |id| id.index);
            roster.view().is_fixed() || roster.view().epoch <= last
        }
        Request::Vote(_) | Request::Propose { .. } => true,
    }
}

fn raft_status(raft: &Raft) -> RaftStatus {
    let metrics = raft.metrics().borrow().clone();
    let membership = metrics.membership_config.membership();
    let place = |id: RaftId| Some((id, membership.get_node(&id)?.clone()));
    let matched = metrics.replication.iter().flatten();
    let has_all = |log: &openraft::LogId<RaftId>| {
        metrics.last_log_index.unwrap_or(0).saturating_sub(log.index) <= CAUGHT_UP_ENTRIES
    };
    let caught_up = matched.filter(|(_, log)| log.as_ref().is_some_and(has_all));
    RaftStatus {
        leader: metrics.current_leader,
        is_leader: metrics.state == ServerState::Leader,
        term: metrics.current_term,
        applied: metrics.last_applied.map(|log| log.index),
        quorum_ack_ms: metrics.millis_since_quorum_ack,
        is_joint: membership.get_joint_config().len() > 1,
        voters: membership.voter_ids().filter_map(place).collect(),
        learners: membership.learner_ids().filter_map(place).collect(),
        caught_up: caught_up.map(|(id, _)| *id).collect(),
    }
}

/// openraft with our types. Named once more, because its own error types are long.
pub(crate) type WriteError = RaftError<RaftId, ClientWriteError<RaftId, Place>>;

impl Shared {
    /// Proposes here, if this voter leads and hears from a majority.
    async fn propose_here(&self, raft: &Raft, decision: Decision, deadline: Instant) -> Proposed {
        let (is_leader, is_outdated) = {
            let metrics = raft.metrics();
            let metrics = metrics.borrow();
            let mut voters = metrics.membership_config.membership().voter_ids();
            (metrics.state == ServerState::Leader, self.network.is_outdated(&mut voters))
        };
        if !is_leader || self.is_mute() || is_outdated {
            return Proposed::NotLeader;
        }
        let written = tokio::time::timeout_at(deadline, raft.client_write(decision)).await;
        let result: Result<_, WriteError> = match written {
            Ok(result) => result,
            Err(_) => return Proposed::Unknown,
        };
        // Whatever an error says: this voter led when it took the decision, so the entry may be on
        // its way. openraft tells a leader that is deposed the same as one that never was.
        result.map_or(Proposed::Unknown, |response| Proposed::Applied(response.data))
    }
}

const _: fn() = || {
    fn is_send<T: Send + Sync>() {}
    is_send::<Voter>();
    is_send::<openraft::Raft<TypeConfig>>();
};
