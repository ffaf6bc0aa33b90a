//! Three nodes in one process, linked over real QUIC on loopback, and browsers for them.

use std::collections::BTreeMap;
use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Query, Request};
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;
use replica::config::{ConfigError, Fault, Problem, generate_token_key};
use replica::{Config, Counter, Register, Replica, Session, SessionLayer, Set, StartError, Status};
use tempfile::TempDir;
use tower::ServiceExt;
use transport::issue::{Ca, CertAndKey, Validity};
use transport::{Identity, PeerAddress};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

const NAMES: [&str; 3] = ["n1", "n2", "n3"];

const COUNT: Counter = Counter::new("count");

/// What the nodes of a cluster have in common.
pub(crate) struct Cluster {
    folder: TempDir,
    ports: [u16; 3],
    extra: String,
    pub(crate) nodes: Vec<Replica>,
    pub(crate) apps: Vec<Router>,
}

impl Cluster {
    /// Three nodes that have caught up with each other.
    pub(crate) async fn start() -> Self {
        Self::start_with("").await
    }

    /// The same, with `extra` at the end of each configuration.
    pub(crate) async fn start_with(extra: &str) -> Self {
        let folder = TempDir::new().unwrap();
        issue_for(folder.path(), &NAMES);
        let mut cluster = Self {
            folder,
            ports: three_ports(),
            extra: extra.to_owned(),
            nodes: Vec::new(),
            apps: Vec::new(),
        };
        // Between asking for a free port and using it somebody else may take it.
        while !cluster.try_start().await {
            cluster.nodes.clear();
            cluster.ports = three_ports();
        }
        cluster.apps = cluster.nodes.iter().map(app).collect();
        cluster.settled().await;
        cluster
    }

    async fn try_start(&mut self) -> bool {
        for name in NAMES {
            match Replica::start(self.config(name)).await {
                Ok(node) => self.nodes.push(node),
                Err(StartError::Config(error)) if is_in_use(&error) => return false,
                Err(error) => panic!("{error}"),
            }
        }
        true
    }

    fn config(&self, name: &str) -> Config {
        self.parsed(&self.text(name))
    }

    fn parsed(&self, text: &str) -> Config {
        Config::from_toml(text, self.folder.path()).unwrap()
    }

    fn text(&self, name: &str) -> String {
        let index = NAMES.iter().position(|known| *known == name).unwrap();
        let members: Vec<String> = NAMES
            .iter()
            .zip(self.ports)
            .map(|(name, port)| format!("{name} = \"127.0.0.1:{port}\""))
            .collect();
        format!(
            "node = {{ listen = \"127.0.0.1:{}\", drain_grace = \"10ms\" }}\n\
             cluster = {{ name = \"shop\", members = {{ {} }} }}\n\
             tls = {{ ca = \"ca.pem\", cert = \"{name}.pem\", key = \"{name}.key\" }}\n{}",
            self.ports[index],
            members.join(", "),
            self.extra,
        )
    }

    /// Waits until every node serves by itself, and knows that nobody lacks anything.
    pub(crate) async fn settled(&self) {
        for node in &self.nodes {
            let settled = || {
                let status = node.status();
                let clean = |p: &replica::PeerStatus| {
                    p.reachable && p.lag_sessions == 0 && p.lag_slots == 0
                };
                status.health == "ok" && status.peers.iter().all(clean)
            };
            until(&format!("{} settles", node.name()), settled).await;
        }
    }

    /// Drops a node without a farewell, and starts it again; it has not caught up yet.
    pub(crate) async fn restart(&mut self, index: usize) {
        self.take_down(index);
        let node = self.start_twin(NAMES[index]).await;
        self.apps[index] = app(&node);
        self.nodes.insert(index, node);
    }

    /// Drops a node without a farewell.
    pub(crate) fn take_down(&mut self, index: usize) {
        self.apps[index] = Router::new();
        drop(self.nodes.remove(index));
    }

    /// What a process needs to take the place of a node: its identity, and the members.
    pub(crate) fn place_of(&self, index: usize) -> (Identity, Vec<PeerAddress>) {
        let config = self.config(NAMES[index]);
        let identity = Identity::load(config.tls(), &config.cluster().name).unwrap();
        let members = config.cluster().members.iter();
        let peers = members
            .map(|(name, address)| PeerAddress { name: name.clone(), address: address.to_string() })
            .collect();
        (identity, peers)
    }

    /// Another process of the same name, on another port: its predecessor's may be in use for a
    /// while, and the others take a link from whoever has the certificate.
    pub(crate) async fn start_twin(&self, name: &str) -> Replica {
        Replica::start(self.parsed(&self.twin_text(name))).await.unwrap()
    }

    fn twin_text(&self, name: &str) -> String {
        let index = NAMES.iter().position(|known| *known == name).unwrap();
        let own = format!("listen = \"127.0.0.1:{}\"", self.ports[index]);
        self.text(name).replace(&own, "listen = \"127.0.0.1:0\"")
    }

    /// Ends a node, and starts one of its name that knows one member less.
    pub(crate) async fn replace_by_stranger(&mut self, index: usize) -> Replica {
        self.take_down(index);
        let other = (index + 1) % NAMES.len();
        let entry = format!("{} = \"127.0.0.1:{}\"", NAMES[other], self.ports[other]);
        let text = self.twin_text(NAMES[index]).replace(&entry, "");
        let text = text.replace(", ,", ",").replace("{ ,", "{");
        Replica::start(self.parsed(&text)).await.unwrap()
    }

    pub(crate) fn statuses(&self) -> Vec<Status> {
        self.nodes.iter().map(Replica::status).collect()
    }

    /// A count of the protocol over all nodes.
    pub(crate) fn counted(&self, name: &str) -> u64 {
        self.statuses().iter().map(|status| status.counters[name]).sum()
    }
}

fn is_in_use(error: &ConfigError) -> bool {
    let in_use = |fault| matches!(fault, &Fault::Start(transport::StartError::InUse { .. }));
    error.problems().iter().map(Problem::fault).any(in_use)
}

/// Waits for a condition; the test fails if it never holds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut looks = tokio::time::interval(Duration::from_millis(2));
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "not in {PATIENCE:?}: {what}");
        looks.tick().await;
    }
}

fn three_ports() -> [u16; 3] {
    free_ports(3).try_into().unwrap()
}

pub(crate) fn free_ports(count: usize) -> Vec<u16> {
    let sockets: Vec<_> = (0..count).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    sockets.iter().map(|socket| socket.local_addr().unwrap().port()).collect()
}

/// Certificates and token keys of a cluster.
pub(crate) fn issue_for(folder: &Path, names: &[impl AsRef<str>]) {
    let ca = Ca::create(&"shop".parse().unwrap(), Validity::days(2)).unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        }
    };
    write("ca.pem", &ca.files().cert_pem);
    for name in names.iter().map(AsRef::as_ref) {
        let CertAndKey { cert_pem, key_pem } =
            ca.node(&name.parse().unwrap(), Validity::days(1)).unwrap();
        write(&format!("{name}.pem"), &cert_pem);
        write(&format!("{name}.key"), &key_pem);
    }
    write("token.keys", &generate_token_key());
}

/// A program of the usual kind.
pub(crate) fn app(replica: &Replica) -> Router {
    type Pairs = Query<BTreeMap<String, String>>;
    let login = async |session: Session, Query(query): Pairs| {
        for (name, value) in query.iter().filter(|(name, _)| *name != "user") {
            session.set(Register::<String>::named(name)?, value.clone())?;
        }
        session.sign_in(&query["user"])
    };
    let set = async |session: Session, Query(query): Pairs| {
        session.set(Register::<String>::named(&query["k"])?, query["v"].clone())
    };
    let read = async |session: Session, Query(query): Pairs| {
        let value = session.get(Register::<String>::named(&query["k"])?)?;
        Ok::<_, replica::Error>(value.unwrap_or_default())
    };
    let incr = async |session: Session| Ok::<_, replica::Error>(session.add(COUNT, 1)?.to_string());
    let count = async |session: Session| Ok::<_, replica::Error>(session.count(COUNT)?.to_string());
    let whoami = async |session: Option<Session>| match session {
        Some(session) => {
            session.user().map_or_else(|| "anonymous".to_owned(), |user| user.as_str().to_owned())
        }
        None => "nobody".to_owned(),
    };
    let add = async |session: Session, Query(query): Pairs| {
        session.insert(Set::<String>::named(&query["k"])?, query["v"].clone())
    };
    let items = async |session: Session, Query(query): Pairs| {
        let items = session.items(Set::<String>::named(&query["k"])?)?;
        Ok::<_, replica::Error>(items.join(","))
    };
    let renew = async |session: Session| session.renew();
    let form = async |session: Session| session.csrf_token();
    let submit = async |session: Session, Query(query): Pairs| session.check_csrf(&query["csrf"]);
    let logout = async |session: Session| session.sign_out();
    let panic = async |session: Session| -> () {
        session.add(COUNT, 1).unwrap();
        panic!("as a handler does");
    };
    Router::new()
        .route("/login", get(login))
        .route("/set", get(set))
        .route("/get", get(read))
        .route("/incr", get(incr))
        .route("/count", get(count))
        .route("/whoami", get(whoami))
        .route("/add", get(add))
        .route("/items", get(items))
        .route("/logout", get(logout))
        .route("/renew", get(renew))
        .route("/form", get(form))
        .route("/submit", get(submit))
        .route("/panic", get(panic))
        .layer(SessionLayer::new(replica))
        .merge(replica.health_routes())
}

/// What a request was answered with.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn set_cookies(&self) -> usize {
        self.headers.get_all(SET_COOKIE).iter().count()
    }
}

/// A client that keeps cookies as browsers do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Browser {
    pub(crate) cookies: BTreeMap<String, String>,
}

pub(crate) const ID: &str = "__Host-session";
pub(crate) const TOKEN: &str = "__Host-session-token";

impl Browser {
    pub(crate) fn with(name: &str, value: &str) -> Self {
        Self { cookies: BTreeMap::from([(name.to_owned(), value.to_owned())]) }
    }

    /// One request; its cookies are kept.
    pub(crate) async fn get(&mut self, app: &Router, path: &str) -> Answer {
        let answer = self.ask(app, path).await;
        self.take(&answer);
        answer
    }

    /// The same, for a request that must succeed; its body.
    pub(crate) async fn ok(&mut self, app: &Router, path: &str) -> String {
        let answer = self.get(app, path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
        answer.body
    }

    /// One request, whose answer has not reached the browser yet.
    pub(crate) async fn ask(&self, app: &Router, path: &str) -> Answer {
        send(app, self.request(path)).await
    }

    pub(crate) fn request(&self, path: &str) -> Request {
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request = Request::builder().uri(path);
        if !cookies.is_empty() {
            request = request.header(COOKIE, cookies.join("; "));
        }
        request.body(Body::empty()).unwrap()
    }

    pub(crate) fn take(&mut self, answer: &Answer) {
        for header in answer.headers.get_all(SET_COOKIE) {
            let text = header.to_str().unwrap();
            let (pair, attributes) = text.split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if value.is_empty() || attributes.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}

pub(crate) async fn send(app: &Router, request: Request) -> Answer {
    let response: Response = app.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    Answer { status: parts.status, headers: parts.headers, body }
}
