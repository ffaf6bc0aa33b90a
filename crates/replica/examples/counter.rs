//! A page that counts visits and remembers a theme, on as many nodes as there are.
//!
//! `cargo run --example counter -- node.toml 127.0.0.1:8080`

use axum::{
    Router,
    routing::{get, post},
};
use replica::{Config, Counter, Register, Replica, Session, SessionLayer};

const VISITS: Counter = Counter::new("visits"); // concurrent additions all count
const THEME: Register<String> = Register::new("theme"); // the last writer wins

async fn visit(session: Session) -> replica::Result<String> {
    let visits = session.add(VISITS, 1)?;
    let theme = session.get(THEME)?.unwrap_or_default();
    Ok(format!("visit {visits}, theme {theme}"))
}

async fn login(session: Session, user: String) -> replica::Result<()> {
    session.sign_in(&user) // a fresh id; the old one is refused from now on
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1); // node.toml 127.0.0.1:8080
    let replica =
        Replica::start(Config::load(args.next().unwrap_or_else(|| "node.toml".into()))?).await?;
    let app = Router::new()
        .route("/", get(visit))
        .route("/login", post(login))
        .layer(SessionLayer::new(&replica))
        .merge(replica.health_routes());
    let listener =
        tokio::net::TcpListener::bind(args.next().unwrap_or_else(|| "127.0.0.1:8080".into()))
            .await?;
    axum::serve(listener, app)
        .with_graceful_shutdown(replica.drain_on(replica::shutdown_signal()))
        .await?;
    Ok(replica.stop().await?)
}
