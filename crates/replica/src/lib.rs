//! Web sessions that live on every node of a service: embed this crate, and any node can answer
//! any request.
//!
//! ```no_run
//! use axum::{Router, routing::{get, post}};
//! use replica::{Config, Counter, Register, Replica, Session, SessionLayer};
//!
//! const VISITS: Counter = Counter::new("visits");            // concurrent additions all count
//! const THEME: Register<String> = Register::new("theme");    // the last writer wins
//!
//! async fn visit(session: Session) -> replica::Result<String> {
//!     let visits = session.add(VISITS, 1)?;
//!     let theme = session.get(THEME)?.unwrap_or_default();
//!     Ok(format!("visit {visits}, theme {theme}"))
//! }
//!
//! async fn login(session: Session, user: String) -> replica::Result<()> {
//!     session.sign_in(&user)                                 // fresh id, indexed under the user
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let mut args = std::env::args().skip(1);               // node.toml 127.0.0.1:8080
//!     let replica = Replica::start(Config::load(args.next().unwrap_or("node.toml".into()))?).await?;
//!     let app = Router::new().route("/", get(visit)).route("/login", post(login))
//!         .layer(SessionLayer::new(&replica)).merge(replica.health_routes());
//!     let listener = tokio::net::TcpListener::bind(args.next().unwrap_or("127.0.0.1:8080".into())).await?;
//!     axum::serve(listener, app).with_graceful_shutdown(replica.drain_on(replica::shutdown_signal())).await?;
//!     Ok(replica.stop().await?)
//! }
//! ```
//!
//! ```text
//!  handler ── reads, edits ──► Session      an own copy; nothing waits, nothing is contended
//!                                 │ commit, one a request
//!  layer ──── cookies ──────► Replica ──► Driver ──► 16 shards ──► peers
//! ```
//!
//! Everything public but the types for axum is at home without HTTP: [`Replica::open`] and
//! [`Session::save`] serve programs of any kind.

mod clock;
mod commit;
pub mod config;
mod driver;
mod error;
mod health;
mod key;
pub mod limits;
mod links;
mod meters;
mod replica;
mod rotated;
mod session;
mod signal;
mod status;
mod tasks;
mod users;
#[cfg(feature = "axum")]
mod web;
mod working;

pub use ::session::{EndReason, Kind, Name, NameError, SessionId, User};
pub use config::Config;
pub use error::{
    CommitError, EditError, Error, OpenError, ReadError, Result, StartError, StopError,
};
pub use health::Health;
pub use key::{Codec, Counter, Json, Key, Raw, Register, Set};
pub use meters::MeterStatus;
pub use protocol::wire::WIRE_VERSION;
pub use protocol::{Ack, Report};
pub use replica::Replica;
pub use session::Session;
pub use signal::shutdown_signal;
pub use status::{PeerPicture, Status};
pub use users::{EndedAll, SessionSummary};
#[cfg(feature = "axum")]
pub use web::{SessionLayer, SessionService};
