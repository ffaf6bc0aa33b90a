//! The pages for people: a shop as small as one can be, with one attribute of each kind.
//!
//! Every change is a form that carries a text of its session, so that no other site can send it.
//! The answer is the state of the shop as JSON if the client asks for that, else the way back to
//! the page.

mod html;

use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use replica::{Counter, Error, Register, Replica, Session, SessionLayer, Set};
use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned};

const VISITS: Counter = Counter::new("shop visits");
const THEME: Register<String> = Register::new("shop theme");
const CART: Set<String> = Set::new("shop cart");

/// Longest name, item or theme, in characters.
const TEXT_CHARS_MAX: usize = 64;

/// Most items in a cart.
const ITEMS_MAX: usize = 40;

/// The page and its forms.
pub(crate) fn routes(replica: &Replica) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/shop/state", get(state))
        .route("/shop/login", post(login))
        .route("/shop/logout", post(logout))
        .route("/shop/visit", post(visit))
        .route("/shop/theme", post(theme))
        .route("/shop/add", post(add))
        .route("/shop/remove", post(remove))
        .layer(SessionLayer::new(replica))
        .with_state(Node(replica.name().into()))
}

/// The name of this node.
#[derive(Clone)]
struct Node(std::sync::Arc<str>);

/// What the pages show.
#[derive(Serialize)]
struct Shop {
    node: String,
    user: Option<String>,
    visits: i64,
    theme: Option<String>,
    cart: Vec<String>,
    /// To be sent back with every form.
    csrf: String,
}

impl Shop {
    /// What is in a session, with what this request has changed.
    fn of(session: &Session, node: &Node) -> Result<Self, Error> {
        let mut cart = session.items(CART)?;
        cart.sort_unstable();
        Ok(Self {
            node: node.0.to_string(),
            user: session.user().map(|user| user.as_str().to_owned()),
            visits: session.count(VISITS)?,
            theme: session.get(THEME)?,
            cart,
            csrf: session.csrf_token(),
        })
    }
}

/// Why a form was refused.
enum Refusal {
    Form(&'static str),
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
            Self::Form(reason) => (StatusCode::UNPROCESSABLE_ENTITY, reason).into_response(),
            Self::Session(error) => error.into_response(),
        }
    }
}

type Answer = Result<Response, Refusal>;

/// A form that comes from a page of its session.
struct Sent<T> {
    session: Session,
    fields: T,
    wants_json: bool,
}

#[derive(serde::Deserialize)]
struct Fields<T> {
    #[serde(default)]
    csrf: String,
    #[serde(flatten)]
    rest: T,
}

impl<T, S> FromRequest<S> for Sent<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let wants_json = wants_json(request.headers());
        let (mut parts, body) = request.into_parts();
        let session =
            <Session as axum::extract::FromRequestParts<S>>::from_request_parts(&mut parts, state);
        let session = session.await.map_err(IntoResponse::into_response)?;
        let form = Form::<Fields<T>>::from_request(Request::from_parts(parts, body), state);
        let Form(fields) = form.await.map_err(IntoResponse::into_response)?;
        session.check_csrf(&fields.csrf).map_err(IntoResponse::into_response)?;
        Ok(Self { session, fields: fields.rest, wants_json })
    }
}

fn wants_json(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("application/json"))
}

impl<T> Sent<T> {
    /// The answer to a form that was accepted.
    fn done(&self, node: &Node) -> Answer {
        if self.wants_json {
            return Ok(Json(Shop::of(&self.session, node)?).into_response());
        }
        Ok(Redirect::to("/").into_response())
    }
}

/// A text that people can read: neither empty nor endless.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let text = text.trim();
        if text.is_empty() || text.chars().count() > TEXT_CHARS_MAX {
            let problem = format!("a text has 1 to {TEXT_CHARS_MAX} characters");
            return Err(serde::de::Error::custom(problem));
        }
        Ok(Self(text.to_owned()))
    }
}

#[derive(serde::Deserialize)]
struct Nothing {}

#[derive(serde::Deserialize)]
struct User {
    user: Text,
}

#[derive(serde::Deserialize)]
struct Theme {
    theme: Text,
}

#[derive(serde::Deserialize)]
struct Item {
    item: Text,
}

async fn page(State(node): State<Node>, session: Session) -> Answer {
    Ok(html::page(&Shop::of(&session, &node)?).into_response())
}

async fn state(State(node): State<Node>, session: Session) -> Answer {
    Ok(Json(Shop::of(&session, &node)?).into_response())
}

async fn login(State(node): State<Node>, sent: Sent<User>) -> Answer {
    sent.session.sign_in(&sent.fields.user.0)?;
    sent.done(&node)
}

/// What is shown afterwards belongs to a session that is yet to begin; the page asks for it.
async fn logout(sent: Sent<Nothing>) -> Answer {
    sent.session.sign_out();
    if sent.wants_json {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Ok(Redirect::to("/").into_response())
}

async fn visit(State(node): State<Node>, sent: Sent<Nothing>) -> Answer {
    sent.session.add(VISITS, 1)?;
    sent.done(&node)
}

async fn theme(State(node): State<Node>, sent: Sent<Theme>) -> Answer {
    sent.session.set(THEME, sent.fields.theme.0.clone())?;
    sent.done(&node)
}

async fn add(State(node): State<Node>, sent: Sent<Item>) -> Answer {
    if sent.session.items(CART)?.len() >= ITEMS_MAX {
        return Err(Refusal::Form("the cart is full"));
    }
    sent.session.insert(CART, sent.fields.item.0.clone())?;
    sent.done(&node)
}

async fn remove(State(node): State<Node>, sent: Sent<Item>) -> Answer {
    sent.session.withdraw(CART, sent.fields.item.0.clone())?;
    sent.done(&node)
}
