//! What lies on the host and is mounted into the containers: certificates and keys.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::fleet::NODES_MAX;
use super::image::{owner, text};
use crate::cluster::name;
use crate::service::Service;

/// The configuration that comes with a certificate. The containers have one of their own.
const UNUSED: &str = "node.toml";

/// As the nodes reach each other, on the network that visitors are not on.
fn quic(node: usize) -> String {
    format!("{}-cluster:7001", name(node))
}

/// Makes an authority and what each node needs, if it is not there yet.
pub(super) fn fill(service: &Service, folder: &Path) -> Result<()> {
    let ca = folder.join("ca");
    let ca = text(&ca)?;
    if folder.exists() {
        return Ok(());
    }
    service.run(["cert", "ca", "--cluster", "compose", "--out", ca])?;
    let members: Vec<String> =
        (0..NODES_MAX).map(|node| format!("--member={}={}", name(node), quic(node))).collect();
    for node in 0..NODES_MAX {
        let (name, out) = (name(node), folder.join(name(node)));
        let mut words = vec!["cert", "node", &name, "--ca", ca, "--out", text(&out)?];
        words.extend(members.iter().map(String::as_str));
        service.run(words)?;
        std::fs::remove_file(out.join(UNUSED))?;
        give_to_owner(&out)?;
    }
    Ok(())
}

/// The keys are for their owner alone, and that is the user of the containers.
fn give_to_owner(folder: &Path) -> Result<()> {
    let owner = Some(owner());
    let files: std::io::Result<Vec<_>> = std::fs::read_dir(folder)?.collect();
    let files = files?.into_iter().map(|file| file.path());
    for path in files.chain([PathBuf::from(folder)]) {
        std::os::unix::fs::chown(&path, owner, owner)
            .with_context(|| format!("{} cannot be given to the nodes' user", path.display()))?;
    }
    Ok(())
}
