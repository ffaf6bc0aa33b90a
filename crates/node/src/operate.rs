//! The operators' commands: `status`, `members`, `mode`, `drain`, `upgrade`. They reach a node over
//! its QUIC port with the certificate that `cert operator` made.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use replica::config::{ConfigError, copies};
use replica::operate::{Request, read_answer};
use serde_json::Value;
use thiserror::Error;
use tokio::time::Instant;
use transport::{
    ClusterName, IdentityError, Limits, NodeName, Operator, OperatorError, OperatorIdentity,
    TlsPaths,
};

use crate::cli::{MembersCommand, OperateArgs, SpreadArgs};
use crate::say;

/// Between two looks at how far a change has come.
const LOOK: Duration = Duration::from_millis(200);

/// Why a command of an operator did not do what it was asked for.
#[derive(Debug, Error)]
pub(crate) enum OperateError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Operator(#[from] OperatorError),
    #[error("{node}: {why}")]
    Node { node: NodeName, why: String },
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(
        "--as {}: no certificate of an operator is there; make one: replica-node cert operator NAME --ca DIR --out {}",
        .0.display(), .0.display()
    )]
    NoCertificate(PathBuf),
    #[error("cannot start: {0}")]
    Runtime(std::io::Error),
}

/// A connection to one node.
struct Session {
    operator: Operator,
}

impl Session {
    async fn open(args: &OperateArgs) -> Result<Self, OperateError> {
        let (paths, cluster) = certificate(&args.certificate, args.cluster.as_ref())?;
        let identity = OperatorIdentity::load(&paths, &cluster)?;
        let operator = Operator::connect(&identity, &args.node, &Limits::default()).await?;
        Ok(Self { operator })
    }

    async fn ask(&self, request: &Request) -> Result<Value, OperateError> {
        let answer = self.operator.request(request.to_bytes()).await?;
        let node = self.operator.node().clone();
        read_answer(&answer).map_err(|why| OperateError::Node { node, why })
    }
}

/// The files of the operator in that folder: one `NAME.pem` beside the authority.
fn certificate(
    folder: &Path,
    cluster: Option<&ClusterName>,
) -> Result<(TlsPaths, ClusterName), OperateError> {
    let missing = || OperateError::NoCertificate(folder.to_owned());
    let entries = std::fs::read_dir(folder).map_err(|_| missing())?;
    let mut keys: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "key"))
        .filter(|path| path.with_extension("pem").exists())
        .filter(|path| path.file_stem().is_some_and(|stem| stem != "ca"))
        .collect();
    keys.sort();
    let key = keys.into_iter().next().ok_or_else(missing)?;
    let paths = TlsPaths { ca: folder.join("ca.pem"), cert: key.with_extension("pem"), key };
    let cluster = match cluster {
        Some(cluster) => cluster.clone(),
        None => OperatorIdentity::cluster_of(&paths.cert)?,
    };
    Ok((paths, cluster))
}

fn run<T>(future: impl Future<Output = Result<T, OperateError>>) -> Result<T, OperateError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(OperateError::Runtime)?.block_on(future)
}

/// `status`
pub(crate) fn status(args: &OperateArgs) -> Result<ExitCode, OperateError> {
    run(async {
        let status = Session::open(args).await?.ask(&Request::Status).await?;
        if args.json {
            say(&status.to_string());
        } else {
            say(&shown(&status));
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// `members`, and what can be done about them
pub(crate) fn members(
    args: &OperateArgs,
    command: Option<&MembersCommand>,
) -> Result<ExitCode, OperateError> {
    run(async {
        let session = Session::open(args).await?;
        match command {
            None => {}
            Some(MembersCommand::Remove { name, accept_loss }) => {
                let (name, accept_loss) = (name.to_string(), *accept_loss);
                session.ask(&Request::Remove { name: name.clone(), accept_loss }).await?;
                say(&format!("{name} is removed"));
            }
            Some(MembersCommand::Recover { yes: false }) => {
                say("This makes membership anew from what this node knows, for the case that the \
                     majority of\nthe voters is lost for good. Members that this node does not \
                     reach are removed. If the lost\nvoters still run elsewhere, there will be two \
                     clusters. To do it, say --yes.");
                return Ok(ExitCode::FAILURE);
            }
            Some(MembersCommand::Recover { yes: true }) => {
                let kept = session.ask(&Request::Recover).await?;
                say(&format!("membership is made anew; members now: {}", words(&kept["members"])));
            }
        }
        let status = session.ask(&Request::Status).await?;
        if args.json {
            say(&status["members"].to_string());
        } else {
            say(members_table(&status).trim_end());
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// `mode`
pub(crate) fn spread(args: &SpreadArgs) -> Result<ExitCode, OperateError> {
    let copies = copies(&args.word, args.backups)?;
    run(async {
        let session = Session::open(&args.operate).await?;
        session.ask(&Request::Resize { copies }).await?;
        let began = Instant::now();
        loop {
            let status = session.ask(&Request::Status).await?;
            if status["is_in_transition"] == false {
                break;
            }
            if began.elapsed() > Duration::from_secs(args.wait) {
                say("agreed on; members are still moving sessions (see `replica-node status`)");
                return Ok(ExitCode::SUCCESS);
            }
            tokio::time::sleep(LOOK).await;
        }
        say(&format!(
            "every session is kept by {} from now on; put it into the configuration of all nodes",
            args.shown()
        ));
        Ok(ExitCode::SUCCESS)
    })
}

/// `drain`
pub(crate) fn drain(args: &OperateArgs) -> Result<ExitCode, OperateError> {
    run(async {
        let session = Session::open(args).await?;
        session.ask(&Request::Drain).await?;
        let node = session.operator.node().clone();
        say(&format!("{node} drains: it hands over what it holds, leaves and ends"));
        // It answers until it closes its connections.
        while session.ask(&Request::Status).await.is_ok() {
            tokio::time::sleep(LOOK).await;
        }
        say(&format!("{node} is gone"));
        Ok(ExitCode::SUCCESS)
    })
}

/// `upgrade`
pub(crate) fn upgrade(args: &OperateArgs) -> Result<ExitCode, OperateError> {
    run(async {
        let done = Session::open(args).await?.ask(&Request::Upgrade).await?;
        if args.json {
            say(&done.to_string());
        } else {
            say(&upgraded(&done));
        }
        let is_held_back = done["protocol"] == done["was"] && !words(&done["behind"]).is_empty();
        Ok(if is_held_back { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    })
}

fn upgraded(done: &Value) -> String {
    let (protocol, behind) = (text(&done["protocol"]), words(&done["behind"]));
    let spoken = if done["protocol"] == done["was"] {
        format!("all members speak wire version {protocol} already")
    } else {
        format!(
            "all members speak wire version {protocol} from now on; a release that does not cannot \
             come back"
        )
    };
    match behind.as_str() {
        "" => spoken,
        behind => {
            format!("{spoken}; {behind} could not speak a later one: upgrade it, then ask again")
        }
    }
}

fn words(list: &Value) -> String {
    let items = list.as_array().into_iter().flatten();
    items.filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

fn shown(status: &Value) -> String {
    let transition = if status["is_in_transition"] == true { ", in transition" } else { "" };
    let mut lines = vec![
        format!(
            "{} of cluster {}: {}",
            text(&status["name"]),
            text(&status["cluster"]),
            text(&status["health"])
        ),
        format!("view      {}.{}{transition}", text(&status["generation"]), text(&status["epoch"])),
        format!("wire      {}{}", text(&status["protocol"]), later(status)),
        format!("voters    {} (leader {})", words(&status["voters"]), text(&status["leader"])),
        format!(
            "holds     {} sessions, {} ended ones, {} bytes",
            text(&status["sessions"]),
            text(&status["tombstones"]),
            text(&status["bytes"])
        ),
    ];
    if let Value::String(trouble) = &status["raft_trouble"] {
        lines.push(format!("raft      {trouble}"));
    }
    lines.push(members_table(status));
    lines.join("\n")
}

/// That a later version of the wire could be spoken, if it is so.
fn later(status: &Value) -> String {
    let possible = &status["protocol_possible"];
    if *possible == status["protocol"] || status["members"] == serde_json::json!([]) {
        return String::new();
    }
    format!(" ({} is possible: replica-node upgrade)", text(possible))
}

fn members_table(status: &Value) -> String {
    let mut table =
        format!("{:<12} {:<24} {:<10} {:<9} {}\n", "MEMBER", "ADDRESS", "ZONE", "ANSWERS", "LACKS");
    let peers = status["peers"].as_array().into_iter().flatten();
    let peers: Vec<&Value> = peers.collect();
    for member in status["members"].as_array().into_iter().flatten() {
        let peer = peers.iter().find(|peer| peer["name"] == member["name"]);
        let is_own = member["name"] == status["name"];
        let answers = match peer {
            _ if is_own => "itself",
            Some(peer) if peer["reachable"] == true => "yes",
            Some(_) | None => "no",
        };
        let lacks = peer.map_or_else(String::new, |peer| {
            let number = |key: &str| peer[key].as_u64().unwrap_or(0);
            format!("{} sessions, {} slots", number("lag_sessions"), number("lag_slots"))
        });
        let leaving = if member["leaving"] == true { " (leaving)" } else { "" };
        let (name, address) = (text(&member["name"]), text(&member["address"]));
        let line = format!(
            "{name:<12} {address:<24} {:<10} {answers:<9} {lacks}{leaving}",
            text(&member["zone"])
        );
        table += line.trim_end();
        table.push('\n');
    }
    table.trim_end().to_owned()
}
