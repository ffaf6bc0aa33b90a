//! When a node ends: the first signal drains it, the second one ends it at once.

use std::io::{self, Read as _};
use std::process;
use std::time::{Duration, Instant};

use replica::Replica;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// Status of a process that was ended while it drained.
pub(super) const STATUS_CUT_SHORT: i32 = 3;

/// Status of a process whose standard input has ended, with `--end-with-stdin`.
const STATUS_ABANDONED: i32 = 4;

/// How long requests that are being served may take when the node ends.
const REQUESTS_PATIENCE: Duration = Duration::from_secs(15);

/// How often a drain looks whether the others have everything.
const LOOK: Duration = Duration::from_millis(20);

/// How often a drain that takes long says what it waits for.
const SAY: Duration = Duration::from_secs(10);

/// Listens to SIGTERM and Ctrl-C from now on; completes with the first one.
///
/// # Errors
/// The system does not let this process listen.
pub(super) fn first_signal() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (first, came) = oneshot::channel();
    tokio::spawn(async move {
        either(&mut terminate, &mut interrupt).await;
        let _ = first.send(());
        either(&mut terminate, &mut interrupt).await;
        eprintln!("error: ended by a second signal before the drain was over");
        process::exit(STATUS_CUT_SHORT);
    });
    Ok(async move {
        let _ = came.await;
    })
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Ends this process when its standard input ends: whoever started it is gone.
pub(super) fn end_with_stdin() {
    std::thread::spawn(|| {
        let mut bytes = [0; 1024];
        let mut stdin = io::stdin().lock();
        loop {
            match stdin.read(&mut bytes) {
                Ok(0) => process::exit(STATUS_ABANDONED),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => process::exit(STATUS_ABANDONED),
            }
        }
    });
}

/// Completes when requests take too long to be answered after the listener has `closed`: a client
/// that does not go on must not keep this node from ending.
pub(super) async fn overdue(closed: oneshot::Receiver<()>) {
    if closed.await.is_err() {
        // The server has ended, and with it the wait for it.
        return std::future::pending().await;
    }
    tokio::time::sleep(REQUESTS_PATIENCE).await;
    tracing::warn!("requests are still open after {REQUESTS_PATIENCE:?}: ending without them");
}

/// Waits until every member that answers has all that was written here. It has no deadline: to
/// end before would lose writes, so that is for a second signal to decide.
pub(super) async fn flushed(replica: &Replica) {
    let mut said = Instant::now();
    loop {
        let peers = replica.status().peers;
        let behind = peers.iter().filter(|peer| peer.reachable);
        let mut behind = behind.filter(|peer| peer.lag_sessions + peer.lag_slots > 0).peekable();
        if behind.peek().is_none() {
            return;
        }
        if said.elapsed() >= SAY {
            let names: Vec<&str> = behind.map(|peer| peer.name.as_str()).collect();
            let names = names.join(", ");
            tracing::error!(
                "still draining: {names} lack writes of this node; a second signal ends it and loses them"
            );
            said = Instant::now();
        }
        tokio::time::sleep(LOOK).await;
    }
}
