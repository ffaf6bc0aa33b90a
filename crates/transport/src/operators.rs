//! Operators at this node: who they are, how many, and how many requests they have open. The
//! requests go to the embedding program; what they mean is up to it.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::counters::{Refusal, count};
use crate::endpoint::Shared;
use crate::event::Close;
use crate::exchange::{self, Broken, Unanswered};
use crate::limits::{
    OPERATOR_ANSWER_BYTES_MAX, OPERATOR_REQUEST_BYTES_MAX, OPERATOR_REQUESTS_MAX, OPERATORS_MAX,
};
use crate::link::joined;

/// What a node says first to an operator that it serves, on a stream of its own: only after it
/// does the operator know that the certificate was accepted.
pub(crate) const WELCOME: [u8; 1] = [1];

/// Requests of operators, to be taken out one by one. See
/// [`Endpoint::operators`](crate::Endpoint::operators).
#[derive(Debug)]
pub struct Operators {
    requests: mpsc::Receiver<OperatorRequest>,
    stopping: watch::Receiver<bool>,
}

/// A request of an operator. If it is dropped, the operator is told that it was refused.
#[derive(Debug)]
pub struct OperatorRequest {
    /// The name in the operator's certificate, which is of this cluster.
    pub operator: String,
    /// Where the operator connects from.
    pub from: SocketAddr,
    /// What is asked; at most [`OPERATOR_REQUEST_BYTES_MAX`] bytes.
    pub bytes: Bytes,
    answer: oneshot::Sender<Bytes>,
}

impl Operators {
    /// The next request; waits for it. `None`: the endpoint is being stopped. A call that is
    /// dropped before it is done takes nothing.
    pub async fn next(&mut self) -> Option<OperatorRequest> {
        tokio::select! {
            biased;
            // An error means that the endpoint is gone.
            _ = self.stopping.wait_for(|stopping| *stopping) => None,
            request = self.requests.recv() => request,
        }
    }
}

impl OperatorRequest {
    /// Answers, with at most [`OPERATOR_ANSWER_BYTES_MAX`] bytes; the operator is told if there
    /// are more. Whoever answers late, or an operator that has gone, answers nobody.
    pub fn answer(self, bytes: Bytes) {
        // An error means that nobody waits any more.
        let _ = self.answer.send(bytes);
    }
}

/// Where requests wait for the embedding program, and the places for those who make them.
#[derive(Debug)]
pub(crate) struct Desk {
    requests: mpsc::Sender<OperatorRequest>,
    /// The other end, until the embedding program takes it.
    untaken: Mutex<Option<mpsc::Receiver<OperatorRequest>>>,
    places: Arc<Semaphore>,
}

impl Desk {
    pub(crate) fn new() -> Self {
        // One that is given up by its operator may still wait, so all open ones do not always fit.
        let (requests, untaken) = mpsc::channel(OPERATORS_MAX * OPERATOR_REQUESTS_MAX);
        let places = Arc::new(Semaphore::new(OPERATORS_MAX));
        Self { requests, untaken: Mutex::new(Some(untaken)), places }
    }

    pub(crate) fn operators(&self, stopping: watch::Receiver<bool>) -> Option<Operators> {
        let requests = self.untaken.lock().take()?;
        Some(Operators { requests, stopping })
    }

    fn put(&self, request: OperatorRequest) -> Result<(), Unanswered> {
        if self.untaken.lock().is_some() {
            return Err(Unanswered::Nobody);
        }
        self.requests.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Unanswered::Busy,
            mpsc::error::TrySendError::Closed(_) => Unanswered::Nobody,
        })
    }

    /// Waits until no operator is connected any more.
    pub(crate) async fn left(&self) {
        // An error means that the semaphore is closed, and nobody closes it.
        let _ = self.places.acquire_many(OPERATORS_MAX as u32).await;
    }
}

/// Serves an operator that has connected and shown the certificate.
pub(crate) async fn serve(shared: Arc<Shared>, connection: Connection, operator: String) {
    let from = connection.remote_address();
    let Ok(_place) = shared.desk.places.clone().try_acquire_owned() else {
        shared.meters.refuse(Refusal::Busy, from);
        let words = format!("{} serves {OPERATORS_MAX} operators already", shared.name);
        return connection.close(Close::Busy.code(), words.as_bytes());
    };
    tracing::info!(operator, "an operator has connected from {from}");
    let (close, words) = attend(&shared, &connection, &operator).await;
    connection.close(close.code(), words.as_bytes());
    tracing::info!(operator, "an operator has gone");
}

/// Answers requests until the connection ends, or is to be ended: how.
async fn attend(
    shared: &Arc<Shared>,
    connection: &Connection,
    operator: &str,
) -> (Close, &'static str) {
    connection.set_max_concurrent_bi_streams(VarInt::from_u32(OPERATOR_REQUESTS_MAX as u32));
    let gone = (Close::Abandoned, "");
    // An operator that takes no stream must not keep a place.
    let welcomed = timeout(shared.limits.connect_timeout, welcome(connection)).await;
    if !matches!(welcomed, Ok(Some(()))) {
        return gone;
    }
    let mut requests = JoinSet::new();
    let mut aged = pin!(sleep(shared.limits.connection_age_max));
    let idle_timeout = shared.limits.operator_idle_timeout;
    let end = loop {
        tokio::select! {
            stream = connection.accept_bi() => match stream {
                Ok((send, receive)) => {
                    let request = Request::new(shared.clone(), connection, operator.to_owned());
                    requests.spawn(request.serve(send, receive));
                }
                Err(_) => return gone,
            },
            Ok(_) = connection.accept_uni() => {
                return (Close::Violation, "a stream for no request");
            }
            Some(end) = requests.join_next() => drop(joined(end)),
            () = shared.stopped() => break (Close::Stopped, "this node was stopped"),
            () = &mut aged => break (Close::Aged, "the connection reached its greatest age"),
            () = sleep(idle_timeout), if requests.is_empty() => {
                break (Close::Aged, "nothing was asked for a while");
            }
        }
    };
    // What has been answered is still sent; each request has a deadline.
    while let Some(end) = requests.join_next().await {
        joined(end);
    }
    end
}

async fn welcome(connection: &Connection) -> Option<()> {
    let mut stream = connection.open_uni().await.ok()?;
    stream.write_all(&WELCOME).await.ok()?;
    stream.finish().ok()
}

/// One request, from its first byte to the last one of its answer.
struct Request {
    shared: Arc<Shared>,
    from: SocketAddr,
    operator: String,
}

impl Request {
    fn new(shared: Arc<Shared>, connection: &Connection, operator: String) -> Self {
        Self { shared, from: connection.remote_address(), operator }
    }

    async fn serve(self, mut send: SendStream, mut receive: RecvStream) {
        let meters = self.shared.meters.clone();
        let deadline = self.shared.limits.operator_deadline;
        let answered = timeout(deadline, self.exchange(&mut send, &mut receive)).await;
        let why = match answered.unwrap_or(Err(Some(Unanswered::Late))) {
            Ok(()) => return count(&meters.operator_requests),
            Err(why) => why,
        };
        count(&meters.operator_requests_refused);
        // Errors mean that the stream has ended already. One that is merely dropped would look as
        // if it had ended in good order.
        let code = why.map_or(VarInt::from_u32(0), Unanswered::code);
        let _ = send.reset(code);
        let _ = receive.stop(code);
    }

    /// Why it was not answered; `None` if the operator has given up.
    async fn exchange(
        self,
        send: &mut SendStream,
        receive: &mut RecvStream,
    ) -> Result<(), Option<Unanswered>> {
        let Self { shared, from, operator } = self;
        let received = tokio::select! {
            received = exchange::receive(receive, OPERATOR_REQUEST_BYTES_MAX) => received,
            () = shared.stopped() => return Err(Some(Unanswered::Stopping)),
        };
        let bytes = received.map_err(|broken| match broken {
            Broken::TooLong => Some(Unanswered::TooLong),
            Broken::Malformed => Some(Unanswered::Malformed),
            Broken::Stopped(_) | Broken::Lost(_) => None,
        })?;
        let (answer, answered) = oneshot::channel();
        shared.desk.put(OperatorRequest { operator, from, bytes, answer })?;
        let answer = tokio::select! {
            biased;
            answer = answered => answer.map_err(|_| Unanswered::Dropped)?,
            _ = send.stopped() => return Err(None),
            () = shared.stopped() => return Err(Some(Unanswered::Stopping)),
        };
        if answer.len() > OPERATOR_ANSWER_BYTES_MAX {
            tracing::warn!("an answer to an operator has {} bytes, too many", answer.len());
            return Err(Some(Unanswered::AnswerTooLong));
        }
        exchange::send(send, answer).await.map_err(|_| None)?;
        // Only then may the connection be closed.
        send.stopped().await.map_err(|_| None)?;
        Ok(())
    }
}
