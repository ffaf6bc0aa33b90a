//! The system as a node of a scenario finds it: a disk that is slow, a clock that stood still. A few
//! functions in C are put before those of the C library (`system.c`), and follow orders in a file
//! that is mapped into the process, so that they change while it runs. No privileges are needed;
//! Linux is, and a compiler.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::cluster::{Cluster, name};

const SOURCE: &str = include_str!("system.c");

/// What is ordered and counted, each a number of 64 bits, in the order of `struct orders`.
#[derive(Debug, Clone, Copy)]
enum Place {
    SyncMs = 0,
    MonotonicMs = 8,
    Syncs = 16,
}

/// Bytes of all of it.
const BYTES: u64 = 24;

/// What one node finds.
#[derive(Debug)]
pub struct System {
    orders: File,
}

impl System {
    /// Those of all nodes of a cluster, none of which runs yet. As long as nothing is ordered they
    /// find what there is.
    ///
    /// # Errors
    /// There is no compiler.
    pub fn of_all(cluster: &mut Cluster) -> Result<Vec<Self>> {
        let (source, library) = (cluster.path("system.c"), cluster.path("system.so"));
        std::fs::write(&source, SOURCE)?;
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source);
        let compiled = compiler.output().context("there is no C compiler (cc)")?;
        let errors = String::from_utf8_lossy(&compiled.stderr);
        ensure!(compiled.status.success(), "system.c cannot be compiled: {errors}");
        let preload = library.display().to_string();
        (0..cluster.len()).map(|node| Self::of(cluster, node, &preload)).collect()
    }

    fn of(cluster: &mut Cluster, node: usize, library: &str) -> Result<Self> {
        let path = cluster.path(&format!("system-{}", name(node)));
        let orders = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        orders.set_len(BYTES)?;
        let variables = [
            ("LD_PRELOAD".to_owned(), library.to_owned()),
            ("SYSTEM_ORDERS".to_owned(), path.display().to_string()),
        ];
        cluster.set_variables(node, variables.into());
        Ok(Self { orders })
    }

    /// From now on it takes so long until anything is on the disk.
    ///
    /// # Errors
    /// The file of orders cannot be written.
    pub fn slow_disk(&self, sync: Duration) -> Result<()> {
        self.order(Place::SyncMs, i64::try_from(sync.as_millis())?)
    }

    /// How often something took as long as was ordered.
    ///
    /// # Errors
    /// The file of orders cannot be read.
    pub fn slow_syncs(&self) -> Result<i64> {
        self.number(Place::Syncs)
    }

    /// The clock that is never set, CLOCK_MONOTONIC, has stood still for so long, once more. To be
    /// called while the process stands still: that clock must not go back.
    ///
    /// # Errors
    /// The file of orders cannot be written.
    pub fn lose_monotonic(&self, length: Duration) -> Result<()> {
        let ahead = self.number(Place::MonotonicMs)?;
        self.order(Place::MonotonicMs, ahead.saturating_sub(i64::try_from(length.as_millis())?))
    }

    fn number(&self, place: Place) -> Result<i64> {
        let mut bytes = [0; 8];
        self.orders.read_exact_at(&mut bytes, place as u64)?;
        Ok(i64::from_ne_bytes(bytes))
    }

    fn order(&self, place: Place, number: i64) -> Result<()> {
        Ok(self.orders.write_all_at(&number.to_ne_bytes(), place as u64)?)
    }
}
