//! The sending side at work on a real spool in a temporary folder.

#![allow(dead_code, reason = "each test uses a part of it")]

use facteur::net::dns::Resolver;
use facteur::outbound::attempt::{Connector, Counters};
use facteur::outbound::clocks::Clock;
use facteur::outbound::route::Router;
use facteur::outbound::schedule::{Parts, Schedule, Settings};
use facteur::policy::directory::Names;
use facteur::policy::level::Level;
use facteur::policy::routes::Routes;
use facteur::spool::disk::Real;
use facteur::spool::{Addressee, Counts, Facts, Last, Options, Sender, Spool};
use smol::{Executor, block_on};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A folder that goes with the test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(test: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("facteur-outbound-{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How the relay of a test is set.
pub struct Setup {
    pub routes: Vec<(String, String)>,
    pub resolver: Option<SocketAddr>,
    pub smtp_port: u16,
    /// What it is told that it listens on.
    pub listens_on: Vec<SocketAddr>,
    pub outbound: usize,
    pub spool_size: u64,
    pub retry: &'static str,
    pub lifetime: Duration,
    pub postmaster: Option<String>,
    /// No wait for a next hop's words is longer.
    pub longest_wait: Duration,
    pub time: Time,
}

/// A relay's time, which the test moves.
#[derive(Clone, Default)]
pub struct Time(Arc<Offsets>);

#[derive(Default)]
struct Offsets {
    /// Seconds that the wall clock is ahead.
    wall: AtomicI64,
    /// Seconds that the steady one is.
    steady: AtomicU64,
}

impl Time {
    /// Time goes by.
    pub fn passes(&self, seconds: u64) {
        self.0.steady.fetch_add(seconds, Ordering::SeqCst);
        self.is_set_by(seconds.try_into().unwrap());
    }

    /// Somebody sets the wall clock.
    pub fn is_set_by(&self, seconds: i64) {
        self.0.wall.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Microseconds since 1970.
    pub fn wall(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let micros = u64::try_from(now.as_micros()).unwrap();
        micros.saturating_add_signed(self.0.wall.load(Ordering::SeqCst) * 1_000_000)
    }

    fn steady(&self, begin: Instant) -> Duration {
        begin.elapsed() + Duration::from_secs(self.0.steady.load(Ordering::SeqCst))
    }
}

impl Setup {
    pub fn to(routes: &[(&str, String)]) -> Self {
        Self {
            routes: routes
                .iter()
                .map(|(name, target)| ((*name).to_owned(), target.clone()))
                .collect(),
            resolver: None,
            smtp_port: 25,
            listens_on: Vec::new(),
            outbound: 32,
            spool_size: 32 << 20,
            retry: "1h..1h",
            lifetime: Duration::from_secs(5 * 86_400),
            postmaster: None,
            longest_wait: Duration::MAX,
            time: Time::default(),
        }
    }
}

pub struct Relay {
    pub spool: Spool,
    pub schedule: Schedule,
    threads: Vec<JoinHandle<()>>,
    stop: smol::channel::Sender<()>,
    clock: Clock,
}

impl Relay {
    pub fn start(folder: &Path, setup: &Setup) -> Self {
        let mut routes = Routes::default();
        for (name, target) in &setup.routes {
            routes.add(name, target.parse().unwrap()).unwrap();
        }
        let routes = Arc::new(routes);
        let (time, begin) = (setup.time.clone(), Instant::now());
        let clock: Clock = Arc::new(move || time.wall());
        let time = setup.time.clone();
        let options = Options {
            dir: folder.join("spool"),
            size: setup.spool_size,
            key: None,
        };
        let lanes = Arc::clone(&routes);
        let lane_of = Box::new(move |address: &str| lanes.lane(address));
        let spool = Spool::open(&options, Real, lane_of, clock() / 1_000_000).unwrap();
        let executor = Arc::new(Executor::new());
        let policy = facteur::policy::relay::Relay {
            postmaster: setup.postmaster.clone(),
            ..Default::default()
        };
        let parts = Parts {
            spool: spool.clone(),
            names: Arc::new(Names::new(policy, routes, Default::default())),
            router: Arc::new(Router {
                resolver: Resolver::new(setup.resolver.into_iter().collect()),
                smtp_port: setup.smtp_port,
                mx_loopback: true,
                family: Default::default(),
                own_name: "relay.example".to_owned(),
                own_addresses: setup.listens_on.clone(),
            }),
            connector: Connector {
                own_name: "relay.example".to_owned(),
                level: Level::None,
                tls: facteur::tls::client::config(),
                next_session: Box::new(|| 1),
                sources: Default::default(),
                resting: Default::default(),
                longest_wait: setup.longest_wait,
                chunk_refusers: Default::default(),
                crowded: Default::default(),
                counters: Counters::default(),
            },
            executor: Arc::clone(&executor),
            clock: Arc::clone(&clock),
            steady: Arc::new(move || time.steady(begin)),
        };
        let settings = Settings {
            hostname: "relay.example".to_owned(),
            outbound: setup.outbound,
            retry: setup.retry.parse().unwrap(),
            lifetime: setup.lifetime,
            senders: Default::default(),
        };
        let schedule = Schedule::start(parts, settings).unwrap();
        let clock = schedule.clock();
        let (stop, stopped) = smol::channel::bounded::<()>(1);
        let threads = (0..2)
            .map(|_| {
                let (executor, stopped) = (Arc::clone(&executor), stopped.clone());
                thread::spawn(move || {
                    let _ = block_on(executor.run(stopped.recv()));
                })
            })
            .collect();
        Self {
            spool,
            schedule,
            threads,
            stop,
            clock,
        }
    }

    /// Queues a message as a session would.
    pub fn submit(&self, from: &str, to: &[&str], text: &str) -> String {
        let sender = Sender {
            address: from,
            ..Sender::default()
        };
        let to: Vec<_> = to.iter().map(|to| Addressee::from(*to)).collect();
        self.submit_with(&sender, &to, Facts::default(), text)
    }

    /// The same, with parameters of MAIL and RCPT.
    pub fn submit_with(
        &self,
        sender: &Sender<'_>,
        to: &[Addressee<'_>],
        facts: Facts,
        text: &str,
    ) -> String {
        block_on(async {
            let mut transaction = self.spool.begin((self.clock)(), None).unwrap();
            transaction.sender(sender).await.unwrap();
            for address in to {
                transaction.recipient(*address).await.unwrap();
            }
            transaction.data_begins();
            transaction.body(text.as_bytes()).await.unwrap();
            let last = Last {
                head: b"Received: by relay.example\r\n",
                facts,
                ..Last::default()
            };
            match transaction.commit(last).await {
                Ok(durable) => durable.to_string(),
                Err(problem) => panic!("{problem}: {:?}", self.spool.counts()),
            }
        })
    }

    /// Waits until the counts are so.
    pub fn until(&self, what: &str, so: impl Fn(&Counts) -> bool) {
        let end = Instant::now() + super::peer::PATIENCE;
        while !so(&self.spool.counts()) {
            assert!(
                Instant::now() < end,
                "not in time: {what}; {:?} {:?}",
                self.spool.counts(),
                self.schedule.counters()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn until_empty(&self) {
        self.until("an empty queue", |counts| {
            counts.queued + counts.in_flight == 0
        });
    }

    pub fn counted(
        &self,
        counter: impl Fn(&facteur::outbound::schedule::Counters) -> &AtomicU64,
    ) -> u64 {
        counter(self.schedule.counters()).load(Ordering::Relaxed)
    }

    /// SIGTERM's way.
    pub fn stop(self) {
        block_on(async {
            self.schedule.stop().await;
            self.spool.close().await.unwrap();
        });
        self.stop.close();
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

/// The messages in a Maildir.
pub fn maildir(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder.join("new")) else {
        return Vec::new();
    };
    entries
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect()
}
