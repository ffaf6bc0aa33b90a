//! Certificates that change while the node runs: looked at now and then, taken over for new
//! connections if they are right, reported once if they are wrong.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::counters::count;
use crate::endpoint::Shared;
use crate::identity::{Identity, IdentityError};
use crate::tls::Settings;

/// Looks at the files until the endpoint stops.
pub(crate) async fn run(shared: Arc<Shared>, identity: Identity, every: Duration) {
    let mut seen = identity.credentials().fingerprint.clone();
    let mut unreadable = false;
    let mut ticks = interval(every.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shared.stopped() => return,
        }
        let (before, known) = (seen.clone(), identity.clone());
        // Files are read on a thread where waiting for a disk stops nobody.
        let read = tokio::task::spawn_blocking(move || known.reload(&before)).await;
        match read {
            Ok(Ok(None)) => unreadable = false,
            Ok(Ok(Some(reload))) => {
                unreadable = false;
                seen = reload.fingerprint;
                take_over(&shared, reload.identity);
            }
            Ok(Err(error)) if !unreadable => {
                unreadable = true;
                keep(&shared, &error);
            }
            Ok(Err(_)) | Err(_) => {}
        }
    }
}

fn take_over(shared: &Shared, loaded: Result<Identity, IdentityError>) {
    let identity = match loaded {
        Ok(identity) => identity,
        Err(error) => return keep(shared, &error),
    };
    if *identity.name() != shared.name {
        return keep(
            shared,
            &format!("the new certificate is for node {}; restart the node", identity.name()),
        );
    }
    match Settings::new(&identity, &shared.limits) {
        Ok(settings) => {
            shared.endpoint.set_server_config(Some(settings.server.clone()));
            *shared.settings.write() = settings;
            count(&shared.meters.reloads);
            tracing::info!("took over changed certificate files");
        }
        Err(error) => keep(shared, &error),
    }
}

fn keep(shared: &Shared, why: &dyn std::fmt::Display) {
    count(&shared.meters.reloads_failed);
    tracing::warn!("changed certificate files are not taken over, the old ones hold: {why}");
}
