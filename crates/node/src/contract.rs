//! The plain endpoints: everything that sessions can do, for any client of HTTP/1.1, so that the
//! service can be driven and compared with others. They have no password.

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use replica::{Counter, Error, Register, Replica, Session, SessionLayer, Set};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::memory;

/// The counter of `/incr` and `/count`. A name that no `k` of a request can be.
const COUNT: Counter = Counter::new("\u{0}count");

const OK: &str = "ok";

/// All endpoints but `/health`.
pub(crate) fn routes(replica: &Replica) -> Router {
    let sessions = Router::new()
        .route("/login", plain(login))
        .route("/set", plain(set))
        .route("/get", plain(get))
        .route("/incr", plain(incr))
        .route("/count", plain(count))
        .route("/add", plain(add))
        .route("/items", plain(items))
        .route("/logout", plain(logout))
        .layer(SessionLayer::new(replica))
        .layer(map_response(gone_is_none));
    sessions.route("/mem", plain(mem)).route("/logout-user", plain(logout_user))
}

/// GET and nothing else, not even HEAD: what changes something must not be asked for by accident.
fn plain<H, T>(handler: H) -> MethodRouter
where
    H: axum::handler::Handler<T, ()>,
    T: 'static,
{
    on(MethodFilter::GET, handler)
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

/// The query; 400 and one line if a name is missing in it.
struct Asked<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = QueryRejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, QueryRejection> {
        let Query(asked) = Query::<T>::from_request_parts(parts, state).await?;
        Ok(Self(asked))
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

async fn login(session: Session, Asked(pairs): Asked<Vec<(String, String)>>) -> Response {
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

async fn set(Existing(session): Existing, Asked(pair): Asked<Pair>) -> Result<&'static str, Error> {
    session.set(register(&pair.k)?, pair.v)?;
    Ok(OK)
}

async fn get(Existing(session): Existing, Asked(Key { k }): Asked<Key>) -> Result<Response, Error> {
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

async fn add(Existing(session): Existing, Asked(pair): Asked<Pair>) -> Result<&'static str, Error> {
    session.insert(set_of(&pair.k)?, pair.v)?;
    Ok(OK)
}

/// One a line, in the order of their bytes.
async fn items(Existing(session): Existing, Asked(Key { k }): Asked<Key>) -> Result<String, Error> {
    let mut items = session.items(set_of(&k)?)?;
    items.sort_unstable();
    Ok(items.iter().map(|item| format!("{item}\n")).collect())
}

async fn logout(Existing(session): Existing) -> &'static str {
    session.sign_out();
    OK
}

async fn logout_user() -> (StatusCode, &'static str) {
    (StatusCode::NOT_IMPLEMENTED, "ending all sessions of a user comes with the users' index")
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
