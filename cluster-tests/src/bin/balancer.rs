//! A balancer in front of nodes, for the containers of compose.yaml.
//!
//! `balancer --listen 0.0.0.0:8080 n1:8080 n2:8080 n3:8080`

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Parser;
use cluster_tests::compose::front;

/// Hands each connection to a node whose /health is 200.
#[derive(Parser)]
struct Arguments {
    /// Where visitors come
    #[arg(long)]
    listen: SocketAddr,
    /// The nodes
    #[arg(required = true, value_name = "HOST:PORT")]
    nodes: Vec<String>,
}

fn main() -> ExitCode {
    let Arguments { listen, nodes } = Arguments::parse();
    match front::serve(listen, &nodes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
