//! The plain endpoints: everything that sessions can do, for any client of HTTP/1.1, so that the
//! service can be driven and compared with others. They have no password.

use axum::Router;
use axum::extract::{FromRequestParts, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use replica::{Counter, EndedAll, Error, Register, Replica, Session, SessionLayer, Set};
use serde::Deserialize;

use crate::memory;

/// The counter of `/incr` and `/count`. A name that no `k` can be that is written without
/// escapes, as the names of the contract are.
const COUNT: Counter = Counter::new("\u{0}count");

/// How far a write was acknowledged; the layer says so of the session of a request.
const ACK: HeaderName = HeaderName::from_static("replica-ack");

const OK: &str = "ok";

/// All endpoints but `/health`.
pub(crate) fn routes(replica: &Replica) -> Router {
    let sessions = Router::new()
        .route("/login", get(login))
        .route("/set", get(set))
        .route("/get", get(value))
        .route("/incr", get(incr))
        .route("/count", get(count))
        .route("/add", get(add))
        .route("/items", get(items))
        .route("/logout", get(logout))
        .layer(SessionLayer::new(replica))
        .layer(map_response(gone_is_none));
    let users = Router::new().route("/logout-user", get(logout_user)).with_state(replica.clone());
    sessions.merge(users).route("/mem", get(mem))
}

/// A session that ended while it was served is none, as one that had ended before.
async fn gone_is_none(mut response: Response) -> Response {
    if response.status() == StatusCode::GONE {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
    }
    response
}

/// The session that the cookies name; 401 if there is none.
struct Existing(Session);

impl<S: Send + Sync> FromRequestParts<S> for Existing {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let session = <Session as FromRequestParts<S>>::from_request_parts(parts, state).await?;
        if session.exists() { Ok(Self(session)) } else { Err(Error::NoSession) }
    }
}

#[derive(Deserialize)]
struct Key {
    k: String,
}

#[derive(Deserialize)]
struct Pair {
    k: String,
    v: String,
}

async fn login(session: Session, Query(pairs): Query<Vec<(String, String)>>) -> Response {
    sign_in(&session, &pairs).into_response()
}

fn sign_in(session: &Session, pairs: &[(String, String)]) -> Result<&'static str, Refusal> {
    let user = pairs.iter().find(|(name, _)| name == "user");
    let (_, user) = user.ok_or(Refusal::NoUser)?;
    session.sign_in(user)?;
    for (name, value) in pairs.iter().filter(|(name, _)| name != "user") {
        session.set(register(name)?, value.clone())?;
    }
    Ok(OK)
}

/// Why a login was refused.
enum Refusal {
    NoUser,
    Session(Error),
}

impl<E: Into<Error>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Session(error.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::NoUser => (StatusCode::BAD_REQUEST, "say whom: /login?user=U").into_response(),
            Self::Session(error) => error.into_response(),
        }
    }
}

async fn set(Existing(session): Existing, Query(pair): Query<Pair>) -> Result<&'static str, Error> {
    session.set(register(&pair.k)?, pair.v)?;
    Ok(OK)
}

async fn value(
    Existing(session): Existing,
    Query(Key { k }): Query<Key>,
) -> Result<Response, Error> {
    let value = session.get(register(&k)?)?;
    let answer = value.map_or_else(
        || (StatusCode::NOT_FOUND, "not set").into_response(),
        IntoResponse::into_response,
    );
    Ok(answer)
}

async fn incr(Existing(session): Existing) -> Result<String, Error> {
    Ok(session.add(COUNT, 1)?.to_string())
}

async fn count(Existing(session): Existing) -> Result<String, Error> {
    Ok(session.count(COUNT)?.to_string())
}

async fn add(Existing(session): Existing, Query(pair): Query<Pair>) -> Result<&'static str, Error> {
    session.insert(set_of(&pair.k)?, pair.v)?;
    Ok(OK)
}

/// One a line, in the order of their bytes.
async fn items(Existing(session): Existing, Query(Key { k }): Query<Key>) -> Result<String, Error> {
    let mut items = session.items(set_of(&k)?)?;
    items.sort_unstable();
    Ok(items.iter().map(|item| format!("{item}\n")).collect())
}

async fn logout(Existing(session): Existing) -> &'static str {
    session.sign_out();
    OK
}

#[derive(Deserialize)]
struct OfUser {
    user: String,
}

/// How many were ended. Of no concern to the session of whoever asks, unless it is one of them.
async fn logout_user(
    State(replica): State<Replica>,
    Query(OfUser { user }): Query<OfUser>,
) -> Result<Response, Error> {
    let EndedAll { ended, report, .. } = replica.end_all(&user).await?;
    let mut response = ended.to_string().into_response();
    if ended > 0 {
        let ack = format!("{}/{}", report.got, report.asked);
        response.headers_mut().insert(ACK, HeaderValue::try_from(ack).expect("digits"));
    }
    Ok(response)
}

async fn mem() -> Response {
    match memory::allocated_bytes() {
        Ok(bytes) => bytes.to_string().into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn register(name: &str) -> Result<Register<String>, Error> {
    Ok(Register::named(name)?)
}

fn set_of(name: &str) -> Result<Set<String>, Error> {
    Ok(Set::named(name)?)
}
