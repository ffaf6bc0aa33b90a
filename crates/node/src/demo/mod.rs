//! `replica-node demo`: a cluster on this machine to try in a browser, gone when it ends.
//!
//! ```text
//!  browser ──► serve ─┬─ the page, and its buttons ──► fleet ──► process n1, n2, n3 …
//!                     └─ /shop/… ──► balancer ──► one of the nodes
//!                                               watch ──► what each node says of itself
//! ```
//!
//! Every node is a process of its own, started from this same program as anybody would start it:
//! `run` with a certificate and a configuration that `cert` wrote. The demonstration knows no more
//! of a node than its `/status.json`.

mod balancer;
mod fleet;
mod journal;
mod page;
mod process;
mod serve;
mod setup;
mod token;
mod watch;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use replica::config::ConfigError;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cert::CertError;
use crate::cli::DemoArgs;
use crate::say;
use fleet::Fleet;
use setup::Setup;

/// Most nodes: more do not fit into the picture.
pub(crate) const NODES_MAX: u8 = 9;

/// Port of the page where none is asked for and this one is free.
const PAGE_PORT: u16 = 8080;

/// How long the nodes may take to end by themselves.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// Why the demonstration did not start.
#[derive(Debug, Error)]
pub(crate) enum DemoError {
    #[error("--http {port}: cannot listen on 127.0.0.1:{port}: {source}; choose another --http")]
    Page { port: u16, source: io::Error },
    #[error("--http {0}: there are not enough ports after it for the nodes; choose a lower one")]
    Ports(u16),
    #[error("cannot listen on 127.0.0.1: {0}; the demonstration needs free ports on loopback")]
    Loopback(io::Error),
    #[error(
        "cannot prepare the folder of the demonstration: {0}; set TMPDIR to a folder that can be written"
    )]
    Folder(io::Error),
    #[error("cannot start processes: {0}")]
    Process(io::Error),
    #[error(transparent)]
    Certificates(#[from] CertError),
    /// What was asked for does not make a configuration.
    #[error("--mode {spread}: {source}")]
    Config { spread: String, source: ConfigError },
    #[error("cannot start: {0}")]
    Runtime(io::Error),
}

/// Runs the demonstration until it is ended.
///
/// # Errors
/// It could not be started.
pub(crate) fn demo(args: &DemoArgs) -> Result<ExitCode, DemoError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(DemoError::Runtime)?.block_on(run(args))
}

async fn run(args: &DemoArgs) -> Result<ExitCode, DemoError> {
    // First of all, so that no signal is missed that comes while the nodes start.
    let mut ended = Ended::listen().map_err(DemoError::Process)?;
    let listener = listen(args.http).await?;
    let page = listener.local_addr().map_err(DemoError::Loopback)?;
    let setup = Setup::make(args)?;
    let fleet = Arc::new(Fleet::start(&setup).map_err(DemoError::Process)?);
    greet(args, page);
    tokio::select! {
        result = serve::serve(listener, page, Arc::clone(&fleet)) => {
            result.map_err(DemoError::Loopback)?;
        }
        () = watch::watch(Arc::clone(&fleet)) => {}
        () = ended.once() => {}
    }
    say("\nEnding the nodes …");
    tokio::select! {
        () = fleet.end(END_PATIENCE) => say("All ended; nothing is left."),
        () = ended.once() => say("Ended at once."),
    }
    Ok(ExitCode::SUCCESS)
}

/// Ctrl-C, the closed terminal, and what `kill` sends.
struct Ended {
    interrupt: Signal,
    hangup: Signal,
    terminate: Signal,
}

impl Ended {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn once(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.hangup.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

async fn listen(asked: Option<u16>) -> Result<TcpListener, DemoError> {
    let bind = |port: u16| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    match asked {
        Some(port) => bind(port).await.map_err(|source| DemoError::Page { port, source }),
        None => match bind(PAGE_PORT).await {
            Ok(listener) => Ok(listener),
            Err(_) => bind(0).await.map_err(DemoError::Loopback),
        },
    }
}

fn greet(args: &DemoArgs, page: SocketAddr) {
    let nodes = args.nodes;
    let plural = if nodes == 1 { "" } else { "s" };
    say(&format!(
        "A cluster of {nodes} node{plural} on this machine, every one a process of its own.\n\n  \
         Open    http://{page}/\n  \
         Stop    Ctrl-C, or close this terminal\n\n\
         Log in, fill the cart, kill the node that served you, and go on.\n"
    ));
}
