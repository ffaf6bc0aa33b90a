//! Handles of sessions, with and without the web.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use replica::{Ack, CommitError, Counter, Error, Register, Report, Session, SessionLayer, Set};
use tokio::sync::mpsc;

use crate::support::{Browser, Cluster, until};

const COUNT: Counter = Counter::new("count");
const THEME: Register<String> = Register::new("theme");
const CART: Set<u32> = Set::new("cart");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_without_http_opens_edits_and_saves() {
    let cluster = Cluster::start().await;
    let session = cluster.nodes[0].new_session();
    assert!(!session.exists() && session.id().is_none() && session.created().is_none());
    session.set(THEME, "dark".to_owned()).unwrap();
    session.insert(CART, 7).unwrap();
    assert_eq!(session.save().await.unwrap(), Report { asked: 1, got: 1 });
    let (id, token) = (session.id().unwrap(), session.token());
    assert!(session.created().unwrap() < session.expires().unwrap());

    let other = cluster.nodes[1].open(id.clone(), token.as_deref()).await.unwrap();
    assert!(other.exists() && other.contains(CART, &7).unwrap());
    assert_eq!(other.get(THEME).unwrap().as_deref(), Some("dark"));
    assert_eq!(other.add(COUNT, 2).unwrap(), 2);
    other.withdraw(CART, 7).unwrap();
    other.remove(THEME).unwrap();
    other.save().await.unwrap();

    session.add(COUNT, 1).unwrap();
    session.save().await.unwrap();
    let token = session.token();
    let third = cluster.nodes[2].open(id, token.as_deref()).await.unwrap();
    assert_eq!((third.get(THEME).unwrap(), third.items(CART).unwrap()), (None, vec![]));
    assert_eq!(third.count(COUNT).unwrap(), 3);
    third.reset(COUNT).unwrap();
    assert_eq!(third.count(COUNT).unwrap(), 0);
    third.save().await.unwrap();
    assert_eq!(third.count(COUNT).unwrap(), 0);
    assert_eq!(cluster.nodes[0].config().replication().ack, Ack::One);
}

/// Promise P4: of two changes of one register on the same ground, one is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_that_was_overtaken_is_refused() {
    let cluster = Cluster::start().await;
    let session = cluster.nodes[0].new_session();
    session.set(THEME, "a".to_owned()).unwrap();
    session.save().await.unwrap();
    let (id, token) = (session.id().unwrap(), session.token());
    let next = |held: Option<String>| held.unwrap_or_default() + "b";
    let one = cluster.nodes[1].open(id.clone(), token.as_deref()).await.unwrap();
    let other = cluster.nodes[2].open(id, token.as_deref()).await.unwrap();
    one.update_if(THEME, next).unwrap();
    other.update_if(THEME, next).unwrap();
    other.add(COUNT, 1).unwrap();
    one.save().await.unwrap();
    let refused = other.save().await.unwrap_err();
    assert!(matches!(&refused, Error::Commit(CommitError::Refused(_))), "{refused}");
    let again = cluster.nodes[2].open(one.id().unwrap(), one.token().as_deref()).await.unwrap();
    assert_eq!(again.count(COUNT).unwrap(), 0, "nothing of the request took effect");
    again.update_if(THEME, next).unwrap();
    again.update_if(THEME, next).unwrap();
    again.save().await.unwrap();
    assert_eq!(again.get(THEME).unwrap().as_deref(), Some("abbb"));
}

/// A session that is signed out and in again in one request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signing_out_leaves_nothing_behind() {
    let cluster = Cluster::start().await;
    let session = cluster.nodes[0].new_session();
    session.set(THEME, "dark".to_owned()).unwrap();
    session.sign_in("ada").unwrap();
    session.save().await.unwrap();
    assert_eq!(session.require_user().unwrap().as_str(), "ada");
    session.sign_out();
    assert!(!session.is_signed_in());
    assert_eq!(session.get(THEME).unwrap(), None);
    let refused = session.set(THEME, "light".to_owned()).unwrap_err();
    assert_eq!(format!("{refused:?}"), refused.to_string(), "debug prints the message");
    session.sign_in("bob").unwrap();
    session.add(COUNT, 1).unwrap();
    session.save().await.unwrap();
    assert_eq!((session.get(THEME).unwrap(), session.count(COUNT).unwrap()), (None, 1));
    assert!(matches!(session.require_user(), Ok(user) if user.as_str() == "bob"));
}

/// Edits of a task that goes on after the response.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edits_after_the_response_are_lost_unless_saved() {
    let cluster = Cluster::start().await;
    let (keep, mut kept) = mpsc::unbounded_channel();
    let handler = async move |session: Session| {
        session.add(COUNT, 1).unwrap();
        keep.send(session).unwrap();
    };
    let app = Router::new().route("/", get(handler)).layer(SessionLayer::new(&cluster.nodes[0]));
    let mut browser = Browser::default();
    browser.ok(&app, "/").await;
    let session = kept.recv().await.unwrap();
    session.add(COUNT, 10).unwrap();
    session.save().await.unwrap();
    session.add(COUNT, 100).unwrap();
    drop(session);
    let meters = || cluster.nodes[0].status().meters;
    until("the loss is counted", || meters().edits_unsaved == 1).await;
    assert_eq!(browser.ok(&cluster.apps[0], "/count").await, "11");
    let late = cluster.nodes[0].new_session();
    drop(late);
    assert_eq!(meters().edits_unsaved, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_form_belongs_to_one_session() {
    let cluster = Cluster::start().await;
    let mut forms = Vec::new();
    let mut browsers = Vec::new();
    for _ in 0..2 {
        let mut browser = Browser::default();
        forms.push(browser.ok(&cluster.apps[0], "/form").await);
        browsers.push(browser);
    }
    for (number, browser) in browsers.iter_mut().enumerate() {
        let app = &cluster.apps[1];
        browser.ok(app, &format!("/submit?csrf={}", forms[number])).await;
        for wrong in [&forms[1 - number], "", "x"] {
            let answer = browser.get(app, &format!("/submit?csrf={wrong}")).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.body);
        }
    }
    let path = format!("/submit?csrf={}", forms[0]);
    let stranger = Browser::default().get(&cluster.apps[0], &path).await;
    assert_eq!(stranger.status, StatusCode::FORBIDDEN);
    browsers[0].ok(&cluster.apps[0], "/login?user=ada").await;
    let old = browsers[0].get(&cluster.apps[0], &path).await;
    assert_eq!(old.status, StatusCode::FORBIDDEN, "a login makes new forms");
}

/// A handler without the layer is told so, and not given a session that nobody commits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_layer_there_is_no_session() {
    let app = Router::new().route("/", get(async |_: Session| ()));
    let answer = Browser::default().get(&app, "/").await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(answer.body.contains("SessionLayer"), "{}", answer.body);
}
