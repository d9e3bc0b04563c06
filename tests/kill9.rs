//! The first promise under kill -9: each acknowledged message arrives, whole, and none twice but the one whose 250 a
//! connection had just been given.
//!
//! `FACTEUR_KILLS` says how often (scripts/powercut: fifty times).

mod support;

use std::io::Write;

use support::facteur::Facteur;
use support::senders::Senders;
use support::sink::Sink;
use support::{Folder, free_port};

const SESSIONS: usize = 20;

/// How often it is killed when nothing else is said.
const KILLS: usize = 4;

#[test]
fn no_kill_loses_an_acknowledged_message_or_repeats_a_recorded_one() {
    let kills = std::env::var("FACTEUR_KILLS");
    let kills = kills.map_or(KILLS, |kills| {
        kills.parse().expect("FACTEUR_KILLS: a number")
    });
    let folder = Folder::new();
    let sink = Sink::start();
    let port = free_port();
    let address = sink.address();
    let flags = ["--relay", &address, "--spool-size", "64M", "--log", "warn"];
    let start = || Facteur::start_on(port, folder.as_ref(), &flags);
    let senders = Senders::start(port, SESSIONS);
    for round in 0..kills {
        let facteur = start();
        // Never at the same place of the load.
        senders.wait_acknowledged(fastrand::usize(1..300));
        if round % 2 == 0 {
            // Every second time with a queue that has grown, and attempts that wait for their reply.
            sink.hold();
            sink.wait_held();
            senders.wait_acknowledged(100);
        }
        facteur.kill();
        sink.go_on();
        sink.next_epoch();
    }
    let facteur = start();
    senders.wait_acknowledged(200);
    let acknowledged: Vec<_> = senders.stop().iter().map(|one| one.number).collect();
    sink.wait_taken(&acknowledged);
    assert!(!facteur.log().contains("ERROR"));
    facteur.stop();
    assert_eq!(sink.complaints(), Vec::<String>::new());
    assert_eq!(sink.repeated(), Vec::<u64>::new(), "came again");
    let deliveries = sink.deliveries();
    let mut numbers: Vec<_> = deliveries.iter().map(|one| one.number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let again = deliveries.len() - numbers.len();
    let told = format!(
        "kill9: killed {kills} times, {} messages acknowledged, none lost, {again} again whose 250 was not recorded\n",
        acknowledged.len()
    );
    let _ = std::io::stderr().write_all(told.as_bytes());
}
