//! The two cookies, and what is no cookie of ours.

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::SET_COOKIE;
use axum::routing::get;
use replica::{Register, Session, SessionLayer};

use crate::log::Log;
use crate::support::{Browser, Cluster, ID, TOKEN, send};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cookies_carry_their_attributes() {
    let cluster = Cluster::start().await;
    let mut browser = Browser::default();
    let answer = browser.get(&cluster.apps[0], "/incr").await;
    let set: Vec<&str> =
        answer.headers.get_all(SET_COOKIE).iter().map(|value| value.to_str().unwrap()).collect();
    let expected = [ID, TOKEN].map(|name| {
        format!("{name}={}; HttpOnly; SameSite=Lax; Secure; Path=/", browser.cookies[name])
    });
    assert_eq!(set, expected);
    let answer = browser.get(&cluster.apps[0], "/logout").await;
    assert!(browser.cookies.is_empty(), "{:?}", answer.headers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cookies_are_as_configured() {
    let cookie = "session = { cookie = { name = \"sid\", token_name = \"seen\", path = \"/shop\", \
        domain = \"shop.example\", same_site = \"strict\", secure = false } }";
    let cluster = Cluster::start_with(cookie).await;
    let mut browser = Browser::default();
    let answer = browser.get(&cluster.apps[0], "/incr").await;
    let id = answer.headers[SET_COOKIE].to_str().unwrap();
    let rest = "; HttpOnly; SameSite=Strict; Path=/shop; Domain=shop.example";
    assert_eq!(id, format!("sid={}{rest}", browser.cookies["sid"]));
    assert!(browser.cookies.contains_key("seen"));
    assert_eq!(browser.ok(&cluster.apps[1], "/incr").await, "2");
}

/// How often it was warned of cookies that browsers drop, after a request for each of `heads`,
/// which all get cookies.
async fn warnings(cluster: &Cluster, log: &Log, heads: &[&[(&'static str, &str)]]) -> usize {
    for head in heads {
        let mut request = Browser::default().request("/incr");
        for (name, value) in *head {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let answer = send(&cluster.apps[0], request).await;
        assert_eq!(answer.set_cookies(), 2, "{head:?}: {}", answer.body);
    }
    log.count("a Secure cookie leaves over plain HTTP")
}

/// What a client that is neither on this machine nor comes over TLS says.
const PLAIN: &[(&str, &str)] = &[("host", "shop.example")];

/// On one thread, that of the log.
#[tokio::test]
async fn a_secure_cookie_over_plain_http_is_warned_of_once() {
    let cluster = Cluster::start().await;
    let log = Log::start();
    let local: &[_] = &[("host", "localhost:8080")];
    let over_tls: &[_] = &[("host", "shop.example"), ("x-forwarded-proto", "https")];
    assert_eq!(warnings(&cluster, &log, &[local, over_tls]).await, 0);
    assert_eq!(warnings(&cluster, &log, &[PLAIN]).await, 1);
    assert_eq!(warnings(&cluster, &log, &[PLAIN]).await, 1);
}

#[tokio::test]
async fn a_cookie_that_is_not_secure_is_not_warned_of() {
    let cluster = Cluster::start_with("session = { cookie = { secure = false } }").await;
    let log = Log::start();
    assert_eq!(warnings(&cluster, &log, &[PLAIN]).await, 0);
}

/// Promise P9, rule K4: they are taken for none, and counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_in_cookies_is_taken_for_none_and_counted() {
    let cluster = Cluster::start().await;
    let app = &cluster.apps[0];
    let mut browser = Browser::default();
    browser.ok(app, "/incr").await;
    let (id, token) = (browser.cookies[ID].clone(), browser.cookies[TOKEN].clone());
    let ids = ["x", &id[1..], &format!("{id}A"), &"ä".repeat(43), &"!".repeat(43)];
    for wrong in ids {
        let answer = Browser::with(ID, wrong).get(app, "/whoami").await;
        assert_eq!((answer.body.as_str(), answer.set_cookies()), ("nobody", 0), "{wrong}");
    }
    // A header that is not even text is no cookie at all.
    let meters = || cluster.nodes[0].status().meters;
    assert_eq!(meters().ids_refused, ids.len() as u64 - 1);
    let mut other = Browser::default();
    other.ok(app, "/incr").await;
    let foreign = other.cookies[TOKEN].clone();
    for wrong in ["x", &token[1..], &token[..token.len() - 4], &foreign] {
        let mut forger = Browser::with(ID, &id);
        forger.cookies.insert(TOKEN.to_owned(), wrong.to_owned());
        assert_eq!(forger.ok(app, "/count").await, "1", "the session is found without it");
        assert_eq!(forger.cookies[TOKEN], token, "and the client gets a right one");
    }
    assert_eq!(meters().tokens_refused, 4);
    let unknown = Browser::with(ID, &"A".repeat(43)).get(app, "/whoami").await;
    assert_eq!((unknown.body.as_str(), unknown.set_cookies()), ("nobody", 0));
}

/// The one with the closest path comes first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_cookies_of_one_name_the_first_counts() {
    let cluster = Cluster::start().await;
    let mut browser = Browser::default();
    browser.ok(&cluster.apps[0], "/login?user=ada").await;
    let header = format!("a=b; {ID}={}; {ID}={}", browser.cookies[ID], "A".repeat(43));
    let mut request = Browser::default().request("/whoami");
    request.headers_mut().insert("cookie", header.parse().unwrap());
    assert_eq!(send(&cluster.apps[0], request).await.body, "ada");
}

/// A handler signs in, saves, and then makes an edit that is refused: the login stands, and its id
/// is known to nobody else than this answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_saved_before_a_commit_failed_is_known_to_the_browser() {
    const THEME: Register<String> = Register::new("theme");
    let cluster = Cluster::start().await;
    let node = cluster.nodes[0].clone();
    let handler = async move |session: Session| {
        session.set(THEME, "dark".to_owned())?;
        session.sign_in("ada")?;
        session.save().await?;
        let (id, token) = (session.id().unwrap(), session.token());
        let other = node.open(id, token.as_deref()).await?;
        other.set(THEME, "light".to_owned())?;
        other.save().await?;
        session.update_if(THEME, |held| held.unwrap_or_default() + "er")
    };
    let app = Router::new().route("/", get(handler)).layer(SessionLayer::new(&cluster.nodes[0]));
    let mut browser = Browser::default();
    browser.ok(&cluster.apps[0], "/incr").await;
    let answer = browser.get(&app, "/").await;
    assert_eq!(answer.status, StatusCode::CONFLICT, "{}", answer.body);
    assert!(!answer.headers.contains_key("replica-ack"), "the last write failed");
    assert_eq!(browser.ok(&cluster.apps[1], "/whoami").await, "ada");
    assert_eq!(browser.ok(&cluster.apps[1], "/get?k=theme").await, "light");
}
