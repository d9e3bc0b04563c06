//! How fast the sending side empties a queue; a figure, not a check: `cargo test --release --test outbound_rate -- --ignored --nocapture`.

#[path = "support/peer.rs"]
mod peer;
#[path = "support/relay.rs"]
mod relay;

use peer::Peer;
use relay::{Folder, Relay, Setup, maildir};
use std::time::Instant;

fn setup(target: String) -> Setup {
    Setup {
        spool_size: SPOOL,
        ..Setup::to(&[("*", target)])
    }
}

const MESSAGES: usize = 10_000;
const SPOOL: u64 = 128 << 20;

fn fill(relay: &Relay, to: &str) {
    let text = format!("Subject: x\r\n\r\n{}", "0123456789abcdef\r\n".repeat(220));
    std::thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| {
                for _ in 0..MESSAGES / 50 {
                    relay.submit("ann@example.org", &[to], &text);
                }
            });
        }
    });
}

/// Waits until the whole spool is zero-written, which goes on in the background and is not what is measured.
fn zeroed(folder: &Folder) {
    let segments = || {
        std::fs::read_dir(folder.0.join("spool")).map_or(0, |list| {
            list.filter(|file| {
                file.as_ref()
                    .is_ok_and(|file| file.file_name().to_string_lossy().ends_with(".seg"))
            })
            .count()
        })
    };
    while (segments() as u64) < SPOOL / (4 << 20) {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

fn report(what: &str, begun: Instant) {
    let seconds = begun.elapsed().as_secs_f64();
    println!("{what}: {:.0} messages/s", MESSAGES as f64 / seconds);
}

#[test]
#[ignore = "a figure, not a check"]
fn over_one_configured_lane() {
    let folder = Folder::new("rate");
    let peer = Peer::willing();
    let up = setup(format!("smtp:{}", peer.address));
    // Queued for a destination that is not there first, so that only the sending is measured.
    let down = setup("smtp:127.0.0.1:1".to_owned());
    let relay = Relay::start(&folder.0, &down);
    zeroed(&folder);
    fill(&relay, "bob@one.test");
    relay.until("all deferred", |counts| counts.in_flight == 0);
    relay.stop();
    let begun = Instant::now();
    let relay = Relay::start(&folder.0, &Setup { ahead: 4000, ..up });
    relay.until_empty();
    report("smtp", begun);
    println!("connections: {}", peer.connections());
    relay.stop();
}

#[test]
#[ignore = "a figure, not a check"]
fn in_and_out() {
    let folder = Folder::new("both");
    let peer = Peer::willing();
    let relay = Relay::start(&folder.0, &setup(format!("smtp:{}", peer.address)));
    zeroed(&folder);
    let begun = Instant::now();
    fill(&relay, "bob@one.test");
    report("queued", begun);
    relay.until_empty();
    report("in and out", begun);
    println!("connections: {}", peer.connections());
    relay.stop();
}

#[test]
#[ignore = "a figure, not a check"]
fn into_a_maildir() {
    let folder = Folder::new("maildir");
    let boxes = format!("maildir:{}/{{user}}", folder.0.display());
    let relay = Relay::start(&folder.0, &setup(boxes));
    zeroed(&folder);
    let begun = Instant::now();
    fill(&relay, "bob@one.test");
    report("queued", begun);
    relay.until_empty();
    report("maildir", begun);
    assert_eq!(maildir(&folder.0.join("bob")).len(), MESSAGES);
    relay.stop();
}
