//! openraft's network over a [`Link`]: each call is one request, with its envelope, its bound and
//! its patience.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use openraft::error::{
    Fatal, NetworkError, PayloadTooLarge, RPCError, RaftError, ReplicationClosed, StreamingError,
    Unreachable,
};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, Snapshot};
use parking_lot::Mutex;
use protocol::MemberName;

use crate::link::{Link, LinkError};
use crate::raft_types::{Group, Place, RaftId, TypeConfig, Vote};
use crate::wire::{self, Answer, Header, MESSAGE_BYTES_MAX, Refusal, Request};

type RpcError = RPCError<RaftId, Place, RaftError<RaftId>>;

/// Why a request to another voter came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("{0} has not answered within {1:?}")]
    Late(MemberName, Duration),
    #[error("a request of {0} bytes is more than {MESSAGE_BYTES_MAX}")]
    TooLong(usize),
    #[error("{0} refused the request: {1}")]
    Refused(MemberName, Refusal),
    #[error("{0} gave an answer to something else")]
    Strange(MemberName),
}

impl AskError {
    /// False only if the other voter has certainly not acted on the request.
    pub(crate) const fn may_have_been_heard(&self) -> bool {
        match self {
            Self::Link(LinkError::Lost(_)) | Self::Late(..) | Self::Strange(_) => true,
            Self::Link(LinkError::Unreachable(_)) | Self::TooLong(_) | Self::Refused(..) => false,
        }
    }
}

/// Voters and those who are to vote are few.
const REFUSED_BY_MAX: usize = 16;

/// Makes the way to each voter.
#[derive(Clone)]
pub(crate) struct Network {
    link: Arc<dyn Link>,
    group: Group,
    me: RaftId,
    /// How long a voter that cannot be reached is left alone.
    pause: Duration,
    /// Who has said that the group is of an earlier generation, [`REFUSED_BY_MAX`] of them at most.
    refused_by: Arc<Mutex<BTreeSet<RaftId>>>,
}

impl Network {
    pub(crate) fn new(link: Arc<dyn Link>, group: Group, me: RaftId, pause: Duration) -> Self {
        Self { link, group, me, pause, refused_by: Arc::default() }
    }

    /// Whether one of these has said that the group is of an earlier generation.
    pub(crate) fn is_outdated(&self, mut voters: impl Iterator<Item = RaftId>) -> bool {
        let refused_by = self.refused_by.lock();
        !refused_by.is_empty() && voters.any(|voter| refused_by.contains(&voter))
    }

    fn note_outdated(&self, by: &MemberName, id: RaftId) {
        let mut refused_by = self.refused_by.lock();
        if refused_by.len() < REFUSED_BY_MAX && refused_by.insert(id) {
            let generation = self.group.generation;
            tracing::error!(
                %by, generation,
                "the cluster was made anew and goes on under a later generation, it says: if it is \
                 a voter of this group, move the Raft directory of this node away and start it \
                 again, it then joins as a new voter"
            );
        }
    }

    pub(crate) fn way_to(&self, id: RaftId, name: MemberName) -> Way {
        Way { network: self.clone(), id, name }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Way;

    async fn new_client(&mut self, target: RaftId, node: &Place) -> Way {
        self.way_to(target, node.name.clone())
    }
}

/// The way to one voter.
pub(crate) struct Way {
    network: Network,
    id: RaftId,
    name: MemberName,
}

impl Way {
    pub(crate) async fn ask(
        &self,
        request: &Request,
        patience: Duration,
    ) -> Result<Answer, AskError> {
        let Network { group, me, .. } = self.network;
        let version = self.network.link.speaks(&self.name);
        let bytes = wire::encode(version, &(Header { group, from: me, to: self.id }, request));
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(AskError::TooLong(bytes.len()));
        }
        let answer = self.network.link.request(&self.name, bytes);
        let answer = tokio::time::timeout(patience, answer).await;
        let answer = answer.map_err(|_| AskError::Late(self.name.clone(), patience))??;
        match wire::decode(&answer) {
            Ok(Answer::Refused(refusal)) => {
                if refusal == Refusal::Outdated {
                    self.network.note_outdated(&self.name, self.id);
                }
                Err(AskError::Refused(self.name.clone(), refusal))
            }
            Ok(answer) => Ok(answer),
            Err(_) => Err(self.strange()),
        }
    }

    fn strange(&self) -> AskError {
        AskError::Strange(self.name.clone())
    }
}

/// Of what goes wrong between two voters nothing is better at once: all are left alone for a while.
fn unreachable(error: &AskError) -> RpcError {
    RPCError::Unreachable(Unreachable::new(error))
}

impl RaftNetwork<TypeConfig> for Way {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<RaftId>, RpcError> {
        let count = rpc.entries.len() as u64;
        match self.ask(&Request::Append(rpc), option.hard_ttl()).await {
            Ok(Answer::Append(response)) => Ok(response),
            Ok(_) => Err(unreachable(&self.strange())),
            Err(AskError::TooLong(_)) if count > 1 => {
                Err(RPCError::PayloadTooLarge(PayloadTooLarge::new_entries_hint(count / 2)))
            }
            Err(error) => Err(unreachable(&error)),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<RaftId>,
        option: RPCOption,
    ) -> Result<VoteResponse<RaftId>, RpcError> {
        match self.ask(&Request::Vote(rpc), option.hard_ttl()).await {
            Ok(Answer::Vote(response)) => Ok(response),
            Ok(_) => Err(unreachable(&self.strange())),
            Err(error) => Err(unreachable(&error)),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<TypeConfig>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<RaftId>, StreamingError<TypeConfig, Fatal<RaftId>>> {
        let request = Request::Snapshot { vote, meta: snapshot.meta, roster: snapshot.snapshot };
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            answer = self.ask(&request, option.hard_ttl()) => match answer {
                Ok(Answer::Snapshot { vote }) => Ok(SnapshotResponse::new(vote)),
                Ok(_) => Err(StreamingError::Network(NetworkError::new(&self.strange()))),
                Err(error) => Err(StreamingError::Unreachable(Unreachable::new(&error))),
            },
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(self.network.pause))
    }
}
