//! A bound on every wait for a peer.

use std::future::Future;
use std::io;
use std::time::Duration;

use smol::Timer;
use smol::future::FutureExt as _;

/// The result of `operation`, or an error of kind [`io::ErrorKind::TimedOut`] when it took longer than `limit`. What is
/// ready at once needs no timer's turn.
pub async fn within<T>(
    limit: Duration,
    operation: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    operation
        .or(async {
            Timer::after(limit).await;
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no answer within {limit:?}"),
            ))
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_ends_times_out_and_what_is_ready_wins() {
        smol::block_on(async {
            let never = within(
                Duration::from_millis(5),
                std::future::pending::<io::Result<()>>(),
            );
            let error = never.await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert_eq!(error.to_string(), "no answer within 5ms");
            let ready = within(Duration::ZERO, async { Ok(7) });
            assert_eq!(ready.await.unwrap(), 7);
        });
    }
}
