//! Tests of schedule.rs that need what no next hop can play; the others are in tests/outbound.rs.

use super::*;
use crate::net::dns::Resolver;
use crate::policy::level::Level;
use crate::spool::disk::Real;
use crate::spool::{Facts, Last, Options, Sender as From};
use smol::block_on;
use std::path::Path;
use std::sync::mpsc::channel;
use std::thread;

const NOW: u64 = 1_800_000_000;

fn spool(folder: &Path, routes: &Arc<Routes>) -> Spool {
    let lanes = Arc::clone(routes);
    let options = Options {
        dir: folder.join("spool"),
        size: 32 << 20,
        key: None,
    };
    Spool::open(&options, Real, Box::new(move |to| lanes.lane(to)), NOW).unwrap()
}

fn parts(spool: &Spool, routes: Arc<Routes>, executor: &Arc<Executor<'static>>) -> Parts {
    Parts {
        spool: spool.clone(),
        names: Arc::new(Names::new(Default::default(), routes, Default::default())),
        router: Arc::new(Router {
            resolver: Resolver::new(Vec::new()),
            smtp_port: 25,
            mx_loopback: false,
            family: Default::default(),
            own_name: "relay.example".to_owned(),
            own_addresses: Vec::new(),
        }),
        connector: Connector {
            own_name: "relay.example".to_owned(),
            level: Level::None,
            tls: crate::tls::client::config(),
            next_session: Box::new(|| 1),
            sources: Default::default(),
            resting: Default::default(),
            longest_wait: std::time::Duration::MAX,
            chunk_refusers: Default::default(),
            crowded: Default::default(),
            counters: Default::default(),
        },
        executor: Arc::clone(executor),
        clock: Arc::new(|| NOW * 1_000_000),
        steady: Arc::new(|| Duration::ZERO),
    }
}

async fn submit(spool: &Spool, to: &str, body: &[u8]) {
    let mut transaction = spool.begin(NOW * 1_000_000, None).unwrap();
    transaction.sender(&From::default()).await.unwrap();
    transaction.recipient(to).await.unwrap();
    transaction.data_begins();
    transaction.body(body).await.unwrap();
    let last = Last {
        head: b"",
        facts: Facts::default(),
        ..Last::default()
    };
    transaction.commit(last).await.unwrap();
}

/// The test ends only if the stop does: the disk never answers, and nothing on the way out may wait for it.
#[test]
fn a_maildir_whose_disk_stalls_does_not_hold_the_stop() {
    let folder = std::env::temp_dir().join(format!("facteur-schedule-{}", std::process::id()));
    let mut routes = Routes::default();
    routes
        .add("*", "maildir:/nowhere/{user}".parse().unwrap())
        .unwrap();
    let routes = Arc::new(routes);
    let spool = spool(&folder, &routes);
    let executor = Arc::new(Executor::new());
    let settings = Settings {
        hostname: "relay.example".to_owned(),
        outbound: 8,
        retry: "1h..1h".parse().unwrap(),
        lifetime: Duration::from_secs(86_400),
        senders: Default::default(),
    };
    let (maildir, asked) = Maildir::stalled();
    let parts = parts(&spool, routes, &executor);
    let schedule = Schedule::start_with(parts, settings, Some(maildir));
    let task = worker::run(Arc::clone(&schedule.shared), Key::Mixed, 0);
    assert!(
        size_of_val(&task) + 128 <= worker::TASK,
        "what the ceiling counts"
    );
    drop(task);
    let (told, ended) = channel();
    let at_work = spool.clone();
    thread::spawn(move || {
        let whole = async {
            // So large that the disk stalls before the last octet.
            let body = vec![b'x'; 3 * limits::MAILDIR_CHUNK];
            submit(&at_work, "ann@home.example", &body).await;
            asked.recv().await.unwrap();
            schedule.stop().await;
            at_work.close().await.unwrap();
        };
        block_on(executor.run(whole));
        drop(executor);
        told.send(()).unwrap();
    });
    ended.recv_timeout(Duration::from_secs(30)).unwrap();
    assert_eq!(spool.counts().queued, 1, "{:?}", spool.counts());
    std::fs::remove_dir_all(&folder).unwrap();
}
