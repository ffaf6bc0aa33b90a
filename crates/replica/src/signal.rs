//! The signals by which people and process managers stop a program.

/// Completes on Ctrl-C, or on SIGTERM where there is such a thing.
///
/// # Panics
/// The system does not let this process listen to signals.
pub async fn shutdown_signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be listened to");
        tokio::select! {
            result = tokio::signal::ctrl_c() => result.expect("Ctrl-C can be listened to"),
            _ = terminate.recv() => {}
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await.expect("Ctrl-C can be listened to");
}
