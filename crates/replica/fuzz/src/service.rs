//! A service of one node, with one session that everybody knows.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{HeaderValue, StatusCode};
use axum::routing::get;
use replica::config::generate_token_key;
use replica::{Config, Counter, Replica, Session, SessionLayer};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt as _;
use transport::issue::{Ca, Validity};

const COUNT: Counter = Counter::new("count");

/// Of one node alone.
const CONFIG: &str = "node.listen = \"127.0.0.1:0\"\nnode.name = \"n1\"\n\
    cluster = { name = \"shop\", members = { n1 = \"127.0.0.1:7001\" } }\n\
    replication.ack = \"local\"\n\
    tls = { ca = \"ca.pem\", cert = \"n1.pem\", key = \"n1.key\" }\n";

/// What a request was answered with.
pub struct Answer {
    pub body: String,
    pub cookies: BTreeMap<String, String>,
}

/// A node, and a program on it that counts.
pub struct Service {
    runtime: Runtime,
    app: Router,
    id_name: String,
    token_name: String,
    /// The cookie of a session.
    id: OnceLock<String>,
    _replica: Replica,
    _folder: TempDir,
}

impl Service {
    /// The only one of this process.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Service> = OnceLock::new();
        SHARED.get_or_init(|| {
            let service = Self::start();
            let answer = service.send("/incr", None);
            let id = answer.cookies[service.id_name()].clone();
            service.id.set(id).expect("it is the first");
            service
        })
    }

    fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        issue(folder.path());
        let config = Config::from_toml(CONFIG, folder.path()).expect("a configuration");
        let (id_name, token_name) =
            (config.session().cookie.name.clone(), config.session().cookie.token_name.clone());
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let replica = runtime.block_on(Replica::start(config)).expect("a node");
        let incr =
            async |session: Session| Ok::<_, replica::Error>(session.add(COUNT, 1)?.to_string());
        let count =
            async |session: Session| Ok::<_, replica::Error>(session.count(COUNT)?.to_string());
        let app = Router::new()
            .route("/incr", get(incr))
            .route("/count", get(count))
            .layer(SessionLayer::new(&replica));
        let id = OnceLock::new();
        Self { runtime, app, id_name, token_name, id, _replica: replica, _folder: folder }
    }

    pub fn id_name(&self) -> &str {
        &self.id_name
    }

    pub fn token_name(&self) -> &str {
        &self.token_name
    }

    /// The id of the session, and what it counts.
    pub fn known(&self) -> (String, &'static str) {
        (self.id.get().expect("it has begun").clone(), "1")
    }

    /// A request with these cookies, if that can be a header at all.
    pub fn ask(&self, cookies: &[u8]) -> Option<Answer> {
        let cookies = HeaderValue::from_bytes(cookies).ok()?;
        Some(self.send("/count", Some(cookies)))
    }

    fn send(&self, path: &str, cookies: Option<HeaderValue>) -> Answer {
        let mut request = Request::builder().uri(path);
        if let Some(cookies) = cookies {
            request = request.header(COOKIE, cookies);
        }
        let request = request.body(Body::empty()).expect("a request");
        self.runtime.block_on(async {
            let Ok(answer) = self.app.clone().oneshot(request).await;
            let (head, body) = answer.into_parts();
            let body = to_bytes(body, usize::MAX).await.expect("a body");
            let body = String::from_utf8(body.to_vec()).expect("a text");
            assert_eq!(head.status, StatusCode::OK, "{body}");
            let set = head.headers.get_all(SET_COOKIE).iter();
            let cookies = set.map(|value| {
                let text = value.to_str().expect("a text");
                let pair = text.split(';').next().expect("a pair");
                let (name, value) = pair.split_once('=').expect("a name and a value");
                (name.to_owned(), value.to_owned())
            });
            Answer { body, cookies: cookies.collect() }
        })
    }
}

/// The certificate of the node, and the keys of tokens.
fn issue(folder: &Path) {
    let ca = Ca::create(&"shop".parse().expect("a name"), Validity::days(2)).expect("an authority");
    let node = ca.node(&"n1".parse().expect("a name"), Validity::days(1)).expect("a certificate");
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).expect("a file");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let private = fs::Permissions::from_mode(0o600);
            fs::set_permissions(path, private).expect("its permissions");
        }
    };
    write("ca.pem", &ca.files().cert_pem);
    write("n1.pem", &node.cert_pem);
    write("n1.key", &node.key_pem);
    write("token.keys", &generate_token_key());
}
