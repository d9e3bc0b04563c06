//! A box without a clock, or with one that is set while it runs: nothing bounces by mistake, and nothing waits for years.

#[path = "support/peer.rs"]
mod peer;
#[path = "support/relay.rs"]
mod relay;

use facteur::inbound::Counters;
use facteur::operator::control::{Control, Reach};
use facteur::outbound::by_hand::Tell;
use facteur::smtp::date::Date;
use facteur::spool::Id;
use peer::{Answer, Event, Peer};
use relay::{Folder, Relay, Setup, Time, maildir};
use smol::{Executor, block_on};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
/// From 1970 to 2026 and some.
const YEARS: i64 = 56 * 365 * DAY as i64 + 200 * DAY as i64;
const TEXT: &str = "Subject: x\r\n\r\nhi\r\n";

/// A next hop that puts every message off until it is told to take them.
struct Later {
    peer: Peer,
    takes: Arc<AtomicBool>,
}

impl Later {
    fn start() -> Self {
        let takes = Arc::new(AtomicBool::new(false));
        let at_peer = Arc::clone(&takes);
        let peer = Peer::start(move |_, asked| {
            let off = asked.starts_with("RCPT") && !at_peer.load(Ordering::SeqCst);
            off.then_some(Answer::Say("451 4.7.1 later"))
        });
        Self { peer, takes }
    }

    fn setup(&self, time: &Time) -> Setup {
        let target = format!("smtp:{}", self.peer.address);
        Setup {
            time: time.clone(),
            ..Setup::to(&[("*", target)])
        }
    }

    /// The local parts of those it was asked about.
    fn tries(&self) -> Vec<String> {
        let asked = |event| match event {
            Event::Command(_, line) => line
                .strip_prefix("RCPT TO:<")
                .and_then(|rest| Some(rest.split_once('@')?.0.to_owned())),
            _ => None,
        };
        self.peer.seen().into_iter().filter_map(asked).collect()
    }

    fn takes(&self) {
        self.takes.store(true, Ordering::SeqCst);
    }
}

/// Waits for the end of the attempt that put a message off for that many times in all.
fn put_off(relay: &Relay, times: u64) {
    relay.until("put off", |counts| {
        counts.in_flight == 0 && relay.counted(|counters| &counters.deferred) == times
    });
}

fn try_again(relay: &Relay) -> usize {
    smol::block_on(relay.schedule.hand().retry(None)).unwrap()
}

/// A message comes, the clock is set, and hours later it is still too young to be given up.
fn is_as_old_as_the_time_that_has_passed(test: &str, boots_behind: i64) {
    let folder = Folder::new(test);
    let (later, time) = (Later::start(), Time::default());
    time.is_set_by(-boots_behind);
    let relay = Relay::start(&folder.0, &later.setup(&time));
    relay.submit("ann@example.org", &["bob@one.test"], TEXT);
    put_off(&relay, 1);
    time.is_set_by(boots_behind);
    ages_by_five_days(&relay, &time);
}

/// Not yet, and then.
fn ages_by_five_days(relay: &Relay, time: &Time) {
    // Each of these might have been a sleep, behind which there is an hour for the network to come back.
    for (passes, tries) in [(2 * HOUR, 2), (4 * DAY, 3), (DAY, 4), (HOUR / 2, 5)] {
        time.passes(passes);
        assert_eq!(try_again(relay), 1);
        put_off(relay, tries);
    }
    assert_eq!(relay.counted(|counters| &counters.failed), 0);
    time.passes(HOUR / 2);
    try_again(relay);
    relay.until("given up", |_| {
        relay.counted(|counters| &counters.failed) == 1
    });
}

#[test]
fn mail_that_came_in_1970_is_not_56_years_old_when_the_clock_is_set() {
    is_as_old_as_the_time_that_has_passed("clock-1970", YEARS);
}

#[test]
fn a_clock_that_starts_where_the_box_was_switched_off_a_week_ago_makes_nothing_older() {
    is_as_old_as_the_time_that_has_passed("clock-saved", 7 * DAY as i64);
}

#[test]
fn a_next_try_noted_before_the_clock_was_set_is_neither_lost_nor_early() {
    let folder = Folder::new("clock-next");
    let (later, time) = (Later::start(), Time::default());
    let setup = later.setup(&time);
    let relay = Relay::start(&folder.0, &setup);
    relay.submit("ann@example.org", &["bob@one.test"], TEXT);
    put_off(&relay, 1);
    // A year ahead, and another message to make the schedule look: the first still has its hour to wait.
    time.is_set_by(365 * DAY as i64);
    relay.submit("ann@example.org", &["eve@one.test"], TEXT);
    put_off(&relay, 2);
    assert_eq!(later.tries(), ["bob", "eve"]);
    // And back again: in an hour, not in a year.
    time.is_set_by(-365 * (DAY as i64));
    relay.submit("ann@example.org", &["joe@one.test"], TEXT);
    put_off(&relay, 3);
    assert_eq!(later.tries(), ["bob", "eve", "joe"]);
    later.takes();
    time.passes(HOUR);
    relay.submit("ann@example.org", &["now@one.test"], TEXT);
    relay.until_empty();
    assert_eq!(later.peer.messages(4).len(), 4);
    relay.stop();
}

/// A relay that put a message off and was stopped since.
fn stopped(test: &str) -> (Folder, Later, Time, Setup) {
    let folder = Folder::new(test);
    let (later, time) = (Later::start(), Time::default());
    let setup = later.setup(&time);
    let relay = Relay::start(&folder.0, &setup);
    relay.submit("ann@example.org", &["bob@one.test"], TEXT);
    put_off(&relay, 1);
    relay.stop();
    (folder, later, time, setup)
}

#[test]
fn a_box_that_boots_in_1970_ages_what_it_had_deferred_by_the_time_that_it_runs() {
    let (folder, _later, time, setup) = stopped("clock-boot");
    time.is_set_by(-YEARS);
    let relay = Relay::start(&folder.0, &setup);
    time.passes(HOUR);
    try_again(&relay);
    put_off(&relay, 1);
    time.is_set_by(YEARS);
    ages_by_five_days(&relay, &time);
    relay.stop();
}

#[test]
fn a_message_that_comes_right_when_the_clock_is_set_is_of_that_time_and_so_are_later_ones() {
    let folder = Folder::new("clock-moment");
    let (later, time) = (Later::start(), Time::default());
    let setup = later.setup(&time);
    let relay = Relay::start(&folder.0, &setup);
    relay.submit("ann@example.org", &["bob@one.test"], TEXT);
    put_off(&relay, 1);
    relay.stop();
    time.is_set_by(-YEARS);
    let relay = Relay::start(&folder.0, &setup);
    relay.submit("ann@example.org", &["eve@one.test"], TEXT);
    put_off(&relay, 1);
    // Nobody has looked at the clock when the next one comes.
    time.is_set_by(YEARS);
    relay.submit("ann@example.org", &["joe@one.test"], TEXT);
    let ahead = relay.spool.newest().seconds() as i64 - time.wall() as i64 / 1_000_000;
    assert!(ahead.abs() < HOUR as i64, "{ahead} s ahead");
    relay.stop();
}

#[test]
fn a_box_that_was_off_for_a_week_does_not_give_up_at_its_first_failure() {
    let (folder, _later, time, setup) = stopped("clock-week");
    time.passes(7 * DAY);
    let relay = Relay::start(&folder.0, &setup);
    put_off(&relay, 1);
    assert_eq!(relay.counted(|counters| &counters.failed), 0);
    time.passes(HOUR / 2);
    try_again(&relay);
    put_off(&relay, 2);
    time.passes(HOUR / 2);
    try_again(&relay);
    relay.until("given up", |_| {
        relay.counted(|counters| &counters.failed) == 1
    });
    relay.stop();
}

/// A message that came in 1970 and was put off, and the Maildir of its sender.
fn came_in_1970(folder: &Folder, later: &Later, time: &Time) -> (Relay, Setup, Id) {
    let home = format!("maildir:{}/{{user}}", folder.0.display());
    let target = format!("smtp:{}", later.peer.address);
    let setup = Setup {
        time: time.clone(),
        ..Setup::to(&[("*", target), ("home.example", home)])
    };
    time.is_set_by(-YEARS);
    let relay = Relay::start(&folder.0, &setup);
    let id = relay.submit("ann@home.example", &["bob@one.test"], TEXT);
    put_off(&relay, 1);
    time.is_set_by(YEARS);
    (relay, setup, Id::parse(&id).unwrap())
}

/// What the report says when the message is dropped.
fn report_of_its_drop(folder: &Folder, relay: &Relay, id: Id) -> String {
    block_on(relay.schedule.hand().remove(id, Tell::Sender)).unwrap();
    relay.until_empty();
    maildir(&folder.0.join("ann")).pop().expect("a report")
}

/// What `facteur queue` writes.
fn queue(folder: &Folder, words: &[&str]) -> String {
    let flags = folder.0.join("no-flags");
    std::fs::write(&flags, "").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_facteur"));
    let spool = folder.0.join("spool");
    let command = command.env("FACTEUR_FLAGS", flags).arg("queue").args(words);
    let output = command.arg("--spool").arg(spool).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Today, whenever that is while the test runs.
fn names_today(time: &Time, field: &str, text: &str) -> bool {
    let now = time.wall() / 1_000_000;
    let mut days = [now, now - 3600].into_iter();
    days.any(|day| {
        let date = Date(day).to_string();
        let (day, _) = date.rsplit_once(' ').unwrap();
        let (day, _) = day.rsplit_once(':').unwrap();
        let (day, _) = day.rsplit_once(':').unwrap();
        text.contains(&format!("{field}{day}"))
    })
}

/// While something answers at the control socket.
fn answering(spool: &Path, relay: &Relay, ask: impl FnOnce()) {
    let control = Control::bind(spool).unwrap();
    let reach = Reach {
        hand: relay.schedule.hand(),
        counters: Arc::new(Counters::default()),
        certificates: None,
    };
    let executor = Arc::new(Executor::new());
    let served = executor.spawn(control.serve(reach, Arc::clone(&executor)));
    thread::scope(|scope| {
        let (stop, stopped) = smol::channel::bounded::<()>(1);
        scope.spawn(move || block_on(executor.run(stopped.recv())));
        ask();
        drop((served, stop));
    });
}

#[test]
fn people_are_told_when_mail_came_by_the_clock_as_it_was_set_since() {
    let (folder, later) = (Folder::new("clock-told"), Later::start());
    let time = Time::default();
    let (relay, _, id) = came_in_1970(&folder, &later, &time);
    answering(&folder.0.join("spool"), &relay, || {
        let shown = queue(&folder, &["show", &id.to_string()]);
        assert!(names_today(&time, "accepted   ", &shown), "{shown}");
        assert!(names_today(&time, "attempt    ", &shown), "{shown}");
        let listed = queue(&folder, &["list"]);
        let line = listed.lines().nth(1).unwrap();
        let age = line.split_whitespace().nth(1).unwrap();
        assert!(age.ends_with('s') || age == "1m", "{listed}");
        // An hour less up to a quarter, of which moments have passed; noted in 1970.
        let next = line
            .split("  in ")
            .nth(1)
            .unwrap_or_else(|| panic!("{listed}"));
        let next = next.split_whitespace().next().unwrap();
        assert!(next == "1h" || next.ends_with('m'), "{listed}");
    });
    let report = report_of_its_drop(&folder, &relay, id);
    assert!(names_today(&time, "\nArrival-Date: ", &report), "{report}");
    relay.stop();
}

#[test]
fn people_are_told_no_time_that_nobody_knows() {
    let (folder, later) = (Folder::new("clock-untold"), Later::start());
    let time = Time::default();
    let (relay, setup, id) = came_in_1970(&folder, &later, &time);
    relay.stop();
    let shown = queue(&folder, &["show", &id.to_string()]);
    assert!(
        shown.contains("\naccepted   before the clock was set\n"),
        "{shown}"
    );
    assert!(
        shown.contains("\nattempt    before the clock was set\n"),
        "{shown}"
    );
    let listed = queue(&folder, &["list"]);
    let line = listed.lines().nth(1).unwrap();
    assert_eq!(line.split_whitespace().nth(1), Some("?"), "{listed}");
    let object = queue(&folder, &["list", "--json"]);
    assert!(object.contains("\"accepted\":null,"), "{object}");
    let relay = Relay::start(&folder.0, &setup);
    put_off(&relay, 1);
    let report = report_of_its_drop(&folder, &relay, id);
    assert!(!report.contains("Arrival-Date"), "{report}");
    relay.stop();
}
