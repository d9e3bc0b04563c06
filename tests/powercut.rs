//! The first promise on a real file system: every block write under an ext4 with the spool is recorded, and the disk as a
//! power cut leaves it at some point is mounted, recovered, and held against what had been acknowledged and delivered by
//! then.
//!
//! `FACTEUR_POWERCUT_SECONDS` says for how long points are tried, `FACTEUR_POWERCUT_SEED` which ones.

mod support;

#[path = "powercut/blklog.rs"]
mod blklog;
#[path = "powercut/recorder.rs"]
mod recorder;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use blklog::{Fate, Log, Replay};
use recorder::{DISK, Mount, Recorder};
use support::facteur::Facteur;
use support::senders::{Acknowledged, Senders};
use support::sink::{Delivery, Sink};
use support::smtp::Client;
use support::{Folder, free_port, numbered, until};

/// For how long points are tried when nothing else is said.
const SECONDS: u64 = 20;

/// A number that no sender reaches: the message by which a recovered relay shows that it takes mail.
const PROBE: u64 = 1 << 40;

/// Flags of the relay under test, with its spool on the disk.
fn flags<'a>(spool: &'a str, next_hop: &'a str) -> [&'a str; 6] {
    ["--spool", spool, "--spool-size", "24M", "--relay", next_hop]
}

/// What happened, and when: by the entries of the log until then.
struct Run {
    log: Log,
    /// Before it there is no file system.
    begins: usize,
    acknowledged: Vec<Acknowledged>,
    delivered: Vec<Delivery>,
    /// What was delivered before the first is on the disk at the second.
    quiet: Vec<(u64, u64)>,
}

/// Runs the relay under load, with a queue that grows and one that empties, two kills and a clean stop.
fn record(folder: &Folder, log: &mut Option<PathBuf>) -> Result<Run, String> {
    let recorder = Recorder::start(folder.as_ref())?;
    *log = Some(recorder.log());
    let mount = recorder.mount(folder.join("mounted"))?;
    let begins = settle(&recorder, mount.path());
    let sink = Sink::stamping(Box::new(recorder.counter()));
    let (spool, next_hop) = (mount.path().join("spool"), sink.address());
    let spool = spool.to_str().expect("UTF-8");
    let port = free_port();
    let start = || Facteur::start_on(port, folder.as_ref(), &flags(spool, &next_hop));
    let senders = Senders::stamping(port, 20, Box::new(recorder.counter()));
    let mut quiet = Vec::new();
    for _ in 0..2 {
        let facteur = start();
        senders.wait_acknowledged(150);
        senders.pause();
        let delivered = settle(&recorder, mount.path());
        quiet.push((delivered, delivered));
        senders.go_on();
        sink.hold();
        sink.wait_held();
        senders.wait_acknowledged(100);
        facteur.kill();
        sink.go_on();
        sink.next_epoch();
    }
    let facteur = start();
    senders.wait_acknowledged(100);
    let acknowledged = senders.stop();
    facteur.stop();
    mount.end();
    Ok(Run {
        log: recorder.end(),
        begins: usize::try_from(begins).expect("64 bits"),
        acknowledged,
        delivered: sink.deliveries(),
        quiet,
    })
}

/// Waits until nothing is written any more, and gives the log's length then.
fn settle(recorder: &Recorder, mounted: &Path) -> u64 {
    let count = recorder.counter();
    let mut before = 0;
    until("a quiet disk", || {
        support::succeed(std::process::Command::new("sync").arg("-f").arg(mounted));
        let now = count();
        std::thread::sleep(Duration::from_secs(1));
        let is_quiet = now == before && count() == now;
        before = count();
        is_quiet.then_some(now)
    })
}

impl Run {
    /// What must be in the queue after a cut at this point, and what must not.
    fn expected(&self, point: u64) -> (BTreeSet<u64>, BTreeSet<u64>) {
        // The stamp is the log's length before the 250: no flush that holds the mark was recorded yet.
        let delivered = self.delivered.iter();
        let delivered: BTreeSet<_> = delivered
            .filter(|one| one.stamp < point)
            .map(|one| one.number)
            .collect();
        let acknowledged = self.acknowledged.iter();
        let queued = acknowledged
            .filter(|one| one.stamp <= point && !delivered.contains(&one.number))
            .map(|one| one.number)
            .collect();
        let recorded = self.quiet.iter().filter(|(_, by)| *by <= point);
        let recorded = recorded.map(|(until, _)| *until).max().unwrap_or(0);
        let finished = self.delivered.iter();
        let finished = finished.filter(|one| one.stamp < recorded);
        (queued, finished.map(|one| one.number).collect())
    }

    /// Recovers the disk of a cut, and holds it against what happened. Gives how many messages were queued.
    fn check(&self, point: usize, image: &Path, folder: &Folder, sink: &Sink) -> usize {
        let mount = Mount::new(image, folder.join("recovered")).expect("ext4 recovers");
        let (spool, next_hop) = (mount.path().join("spool"), sink.address());
        let flags = flags(spool.to_str().expect("UTF-8"), &next_hop);
        let facteur = Facteur::start(folder.as_ref(), &flags);
        let queued = entries(&facteur);
        let came = sink.take_deliveries(queued);
        until("mail is taken", || probe(facteur.port).ok());
        let probe = sink.take_deliveries(1);
        assert_eq!(
            probe.iter().map(|one| one.number).collect::<Vec<_>>(),
            [PROBE]
        );
        let log = facteur.log();
        assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
        facteur.stop();

        let numbers: BTreeSet<_> = came.iter().map(|one| one.number).collect();
        assert_eq!(numbers.len(), came.len(), "a message came twice");
        assert_eq!(numbers.len(), queued, "not what the start counted");
        assert_eq!(sink.complaints(), Vec::<String>::new());
        let (wanted, finished) = self.expected(point as u64);
        let lost: Vec<_> = wanted.difference(&numbers).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        let again: Vec<_> = finished.intersection(&numbers).collect();
        assert!(
            again.is_empty(),
            "recorded as delivered, and again: {again:?}"
        );

        let facteur = Facteur::start(folder.as_ref(), &flags);
        assert_eq!(entries(&facteur), 0, "all was delivered");
        facteur.stop();
        mount.end();
        sink.next_epoch();
        queued
    }
}

/// How many messages the start found.
fn entries(facteur: &Facteur) -> usize {
    let line = facteur.wait_log(&["spool open", "entries="]);
    let behind = line.split("entries=").nth(1);
    let number = behind.and_then(|rest| rest.split(' ').next());
    number.expect("a number").parse().expect("a number")
}

fn probe(port: u16) -> std::io::Result<()> {
    let mut client = Client::connect(port)?;
    client.say("EHLO client.test", "250")?;
    let text = numbered::message(PROBE);
    client.submit("a@client.test", "b@example.test", &text)?;
    client.say("QUIT", "221").map(drop)
}

fn tell(line: &str) {
    // Past the test harness, which keeps a passing test's words to itself.
    let _ = std::io::stderr().write_all(format!("powercut: {line}\n").as_bytes());
}

/// Where the test failed, for who has to find out why.
struct Place {
    point: usize,
    fate: Fate,
    seed: u64,
    log: Option<PathBuf>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("powercut.log");
            let mut copy = std::process::Command::new("cp");
            let mut copied = |log| copy.arg("--sparse=always").args([log, &kept]).status();
            let log = self.log.as_ref().and_then(|log| copied(log).ok()).is_some();
            tell(&format!(
                "FAILED at entry {} ({:?}, seed {}) of {}",
                self.point,
                self.fate,
                self.seed,
                if log {
                    kept.display().to_string()
                } else {
                    "a log that is not kept".to_owned()
                },
            ));
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}={text}: a number")),
    )
}

#[test]
fn no_power_cut_loses_an_acknowledged_message_on_ext4() {
    let seconds = number("FACTEUR_POWERCUT_SECONDS").unwrap_or(SECONDS);
    let seed = number("FACTEUR_POWERCUT_SEED").unwrap_or_else(|| fastrand::u64(..1 << 32));
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = Folder::new();
    let mut log = None;
    let run = match record(&folder, &mut log) {
        Ok(run) => run,
        Err(lacking) => return tell(&format!("SKIPPED: {lacking}")),
    };
    let all = run.log.len() - run.begins;
    tell(&format!(
        "recorded {} messages acknowledged, {} delivered, {all} block writes and flushes, {} of them flushes",
        run.acknowledged.len(),
        run.delivered.len(),
        run.log.flushes(run.begins..run.log.len()),
    ));
    let sink = Sink::start();
    let image = folder.join("cut");
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut place = Place {
        point: 0,
        fate: Fate::Kept,
        seed,
        log,
    };
    let (mut tried, mut queued) = (0, 0);
    // In passes, as the log is gone through forwards.
    while tried == 0 || Instant::now() < end {
        let mut points: Vec<_> = (0..40)
            .map(|_| random.usize(run.begins..=run.log.len()))
            .collect();
        points.sort_unstable();
        let mut replay = Replay::new(&run.log, usize::try_from(DISK).expect("64 bits"));
        for point in points {
            replay.advance(point);
            let fates = [Fate::Lost, Fate::Kept, Fate::Torn, Fate::Torn];
            place.fate = fates[random.usize(..fates.len())];
            place.point = point;
            replay.cut(&image, place.fate, &mut random);
            queued += run.check(point, &image, &folder, &sink);
            tried += 1;
            if Instant::now() >= end {
                break;
            }
        }
    }
    tell(&format!(
        "{tried} cuts (seed {seed}), {queued} messages recovered, none lost, none again"
    ));
}
