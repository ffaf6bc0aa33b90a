//! `replica-node run`: an ordinary service that embeds `replica` as any user would; and the two
//! commands beside it, `check` before it starts and `health` while it runs.

mod app;
mod log;
mod serve;
mod stop;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use axum::http::StatusCode;
use replica::config::ConfigError;
use replica::{Config, Replica, StartError, StopError};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::cli::{HealthArgs, RunArgs};
use crate::client::{self, ClientError};
use crate::say;
use app::App;

/// How long `health` waits for an answer. Less than container runtimes wait by default.
const HEALTH_PATIENCE: Duration = Duration::from_secs(5);

/// Why a node does not run, or did not end in good order.
#[derive(Debug, Error)]
pub(crate) enum RunError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("{}: app.http = \"{http}\": {source}; choose another address or port, or end who holds it", file.display())]
    Http { file: PathBuf, http: SocketAddr, source: io::Error },
    #[error("cannot start: {0}")]
    Runtime(io::Error),
    #[error("HTTP cannot be served any more: {0}")]
    Serve(io::Error),
    #[error("this node cannot go on: {0}")]
    Failed(String),
    #[error(transparent)]
    Stop(#[from] StopError),
    #[error("{http} {source}")]
    Health { http: SocketAddr, source: ClientError },
}

/// `run`
pub(crate) fn run(args: &RunArgs) -> Result<ExitCode, RunError> {
    if args.end_with_stdin {
        stop::end_with_stdin();
    }
    let config = Config::load(&args.config.path)?;
    let app: App = config.app()?;
    log::start(args.log);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(RunError::Runtime)?.block_on(live(&args.config.path, config, &app))
}

async fn live(file: &Path, config: Config, app: &App) -> Result<ExitCode, RunError> {
    let signalled = stop::first_signal().map_err(RunError::Runtime)?;
    // Before anything else is started: nothing has to be undone if the port is taken.
    let (listener, http) = listen(file, app).await?;
    let replica = Replica::start(config).await?;
    if !http.ip().is_loopback() {
        serve::warn_beyond_loopback(http, app.is_open());
    }
    let router = serve::router(&replica, http, app.is_open());
    let (closing, closed) = oneshot::channel();
    let drained = replica.drain_on(signalled);
    let server = axum::serve(listener, router).with_graceful_shutdown(async {
        drained.await;
        let _ = closing.send(());
    });
    let ready = tokio::spawn(say_ready(replica.clone(), http));
    tokio::select! {
        served = server => served.map_err(RunError::Serve)?,
        reason = replica.failed() => return Err(RunError::Failed(reason)),
        () = stop::overdue(closed) => {}
    }
    ready.abort();
    stop::flushed(&replica).await;
    replica.stop().await?;
    Ok(ExitCode::SUCCESS)
}

async fn listen(file: &Path, app: &App) -> Result<(TcpListener, SocketAddr), RunError> {
    let failed = |source| RunError::Http { file: file.to_owned(), http: app.http, source };
    let listener = TcpListener::bind(app.http).await.map_err(failed)?;
    let http = listener.local_addr().map_err(failed)?;
    Ok((listener, http))
}

async fn say_ready(replica: Replica, http: SocketAddr) {
    replica.ready().await;
    let (quic, name) = (replica.local_addr(), replica.name());
    say(&format!("ready http={http} quic={quic} name={name}"));
}

/// `check`
pub(crate) fn check(file: &Path) -> Result<ExitCode, RunError> {
    let config = Config::load(file)?;
    let app: App = config.app()?;
    let identity = config.identity()?;
    config.token_keys()?;
    let cluster = config.cluster();
    let others: Vec<String> = if cluster.is_fixed() {
        cluster.members.iter().map(|(name, address)| format!("{name} at {address}")).collect()
    } else {
        cluster.seeds.iter().map(ToString::to_string).collect()
    };
    let (word, others) = match others.is_empty() {
        true => ("alone  ", "until others join".to_owned()),
        false => (if cluster.is_fixed() { "members" } else { "seeds  " }, others.join(", ")),
    };
    say(&format!(
        "{} is good: node {} of the cluster {}\n  {word}  {others}\n  listens  {} (QUIC, UDP), {} (HTTP)",
        file.display(),
        identity.name(),
        cluster.name,
        config.node().listen,
        app.http,
    ));
    Ok(ExitCode::SUCCESS)
}

/// `health`
pub(crate) fn health(args: &HealthArgs) -> Result<ExitCode, RunError> {
    let http = match args.http {
        Some(http) => http,
        None => Config::load(&args.config)?.app::<App>()?.http,
    };
    let http = client::reachable(http);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let asked = client::get(http, "/health", HEALTH_PATIENCE);
    let answer = runtime.map_err(RunError::Runtime)?.block_on(asked);
    let answer = answer.map_err(|source| RunError::Health { http, source })?;
    say(String::from_utf8_lossy(answer.body()).trim_end());
    let is_healthy = answer.status() == StatusCode::OK;
    Ok(if is_healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
