//! Connections that others make: admitted, authenticated, and handed over to where they belong.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use quinn::{Connecting, Connection, ConnectionError, Incoming, Side, TransportErrorCode};
use tokio::time::timeout;

use crate::attempt::Offer;
use crate::counters::{Refusal, count};
use crate::endpoint::Shared;
use crate::error::AttemptError;
use crate::event::Close;
use crate::name::NodeName;
use crate::operators;
use crate::preface::Preface;
use crate::tls::{self, Purpose};

/// A handshake in progress; counted until it is dropped.
struct Admission(Arc<AtomicUsize>);

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Takes connections until the endpoint is closed.
pub(crate) async fn run(shared: Arc<Shared>) {
    let handshakes = Arc::new(AtomicUsize::new(0));
    while let Some(incoming) = shared.endpoint.accept().await {
        let from = incoming.remote_address();
        let Some(incoming) = admit(&shared, incoming, handshakes.load(Ordering::Relaxed)) else {
            continue;
        };
        let connecting = match incoming.accept() {
            Ok(connecting) => connecting,
            Err(error) => {
                refuse(&shared, &error.into(), from);
                continue;
            }
        };
        handshakes.fetch_add(1, Ordering::Relaxed);
        let admission = Admission(handshakes.clone());
        let handshake = receive(shared.clone(), connecting, from);
        shared.spawn(async move {
            handshake.await;
            drop(admission);
        });
    }
}

/// Under load those who connect must prove their address, so that nobody fills the places for handshakes
/// with forged ones; beyond the limits they are turned away.
fn admit(shared: &Shared, incoming: Incoming, handshakes: usize) -> Option<Incoming> {
    let limits = &shared.limits;
    let connections = shared.endpoint.open_connections();
    if handshakes >= limits.handshakes_max || connections >= limits.connections_max {
        shared.meters.refuse(Refusal::Busy, incoming.remote_address());
        incoming.refuse();
        return None;
    }
    if handshakes >= limits.handshakes_before_retry && !incoming.remote_address_validated() {
        count(&shared.meters.retries);
        // It can be retried as long as it has not been: the address is not validated.
        let _ = incoming.retry();
        return None;
    }
    Some(incoming)
}

/// A connection whose handshake is complete.
enum Arrival {
    /// One half of a link.
    Half(NodeName, Offer),
    Operator(Connection, NodeName),
}

/// One handshake, from the first packet until it is known what comes of it.
async fn receive(shared: Arc<Shared>, connecting: Connecting, from: SocketAddr) {
    let limit = shared.limits.connect_timeout;
    let arrival = timeout(limit, arrive(&shared, connecting)).await;
    match arrival.unwrap_or(Err(AttemptError::Slow)) {
        Ok(Arrival::Half(name, offer)) => shared.peers.hand_over(&shared, &name, offer),
        Ok(Arrival::Operator(connection, name)) => {
            // A task of its own: this one is counted as a handshake.
            shared.spawn(operators::serve(shared.clone(), connection, name.to_string()));
        }
        Err(error) => refuse(&shared, &error, from),
    }
}

async fn arrive(shared: &Shared, connecting: Connecting) -> Result<Arrival, AttemptError> {
    let connection = connecting.await?;
    let turn_away = |words: &str| connection.close(Close::Refused.code(), words.as_bytes());
    match Purpose::of(&connection) {
        Some(Purpose::Lanes) => {
            let name = identify(shared, &connection)
                .inspect_err(|refusal| turn_away(&shared.words(*refusal)))
                .map_err(AttemptError::Refused)?;
            let (lane, receive, preface) = Preface::receive(&connection).await?;
            Ok(Arrival::Half(name, Offer { connection, lane, receive, preface }))
        }
        // It has seen the certificate of this node, and closes as soon as it has read it.
        Some(Purpose::Identify) => Err(connection.closed().await.into()),
        Some(Purpose::Operators) => {
            let name = tls::authenticate_operator(&connection, &shared.cluster)
                .inspect_err(|refusal| turn_away(refusal.to_holder()))
                .map_err(AttemptError::Refused)?;
            Ok(Arrival::Operator(connection, name))
        }
        // TLS insists on one of them.
        None => Err(AttemptError::Refused(Refusal::Handshake)),
    }
}

/// The node at the other end, if it is one that may be linked with.
fn identify(shared: &Shared, connection: &Connection) -> Result<NodeName, Refusal> {
    let name = tls::authenticate(connection, &shared.cluster)?;
    if name == shared.name {
        return Err(Refusal::OtherName);
    }
    shared.peers.admits(&name).map(|()| name)
}

fn refuse(shared: &Shared, error: &AttemptError, from: SocketAddr) {
    let given_up = match error {
        AttemptError::Connection(error) => is_given_up(error),
        AttemptError::Resolve { .. }
        | AttemptError::NoAddress { .. }
        | AttemptError::NoAnswer(_)
        | AttemptError::Refused(_)
        | AttemptError::Preface
        | AttemptError::Slow
        | AttemptError::Dial(_)
        | AttemptError::Random(_) => false,
    };
    if !given_up {
        shared.meters.refuse(error.refusal(Side::Server).unwrap_or(Refusal::Handshake), from);
    }
}

/// A peer that gives up an attempt is not refused. During the handshake QUIC says so with an error
/// of the transport.
fn is_given_up(error: &ConnectionError) -> bool {
    let is_during_handshake = matches!(error, ConnectionError::ConnectionClosed(close)
        if close.error_code == TransportErrorCode::APPLICATION_ERROR);
    let is_afterwards =
        matches!(error, ConnectionError::ApplicationClosed(_) | ConnectionError::LocallyClosed);
    is_during_handshake || is_afterwards
}
