//! A look at the queue from outside, and what is done to it by hand. On real files, which is what a look reads.

use super::*;
use crate::spool::disk::{Existing, Real};
use std::path::{Path, PathBuf};

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let name = format!("facteur-looking-{test}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }

    fn open(&self, disk: impl Disk) -> Spool {
        let options = Options {
            dir: self.0.clone(),
            size: Spool::smallest(),
            key: None,
        };
        let spool = Spool::open(&options, disk, Box::new(lane), NOW).unwrap();
        while spool.handle.shared.state().segments.coming > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        spool
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn note(mask: u128, text: &str) -> Note {
    let mut note = Note {
        at: NOW,
        replies: Vec::new(),
    };
    note.add(mask, Some("mx.example"), text);
    note
}

async fn put_off(spool: &Spool, ticket: Ticket, note: &Note) {
    let defer = Some(Deferral {
        next: NOW + 60,
        unreached: false,
    });
    let outcome = Outcome { done: 0, defer };
    spool.settle_noting(ticket, outcome, note).await;
}

/// What a look shows: id, recipients, attempts, next try, what was said.
type Shown = Vec<(Id, u128, u16, u64, Vec<String>)>;

fn look(path: &Path) -> Shown {
    let inspector = Inspector::look(path, None, None).unwrap();
    let shown = |message: &Queued| {
        let texts = message.notes.iter().flat_map(|note| &note.replies);
        let waiting = message.waiting[0];
        (
            message.id,
            message.recipients(),
            waiting.attempts,
            waiting.next,
            texts.map(|reply| reply.text.clone()).collect(),
        )
    };
    inspector.queued().iter().map(shown).collect()
}

#[test]
fn a_look_shows_what_is_queued_and_why_while_the_spool_is_open_and_after() {
    let folder = Folder::new("shows");
    let spool = folder.open(Real);
    let (first, second, third) = block_on(async {
        let first = accept(&spool, &["a@a", "b@a"], &body(1, 40_000))
            .await
            .unwrap();
        let second = accept(&spool, &["c@a"], b"x").await.unwrap();
        let mut tickets = due(&spool, NOW);
        deliver(&spool, tickets.remove(1)).await;
        put_off(&spool, tickets.remove(0), &note(0b11, "451 not now")).await;
        let third = accept(&spool, &["d@a"], b"y").await.unwrap();
        (first, second, third)
    });
    assert!(second < third);
    let wanted = vec![
        (first, 0b11, 1, NOW + 60, vec!["451 not now".to_owned()]),
        (third, 1, 0, 0, vec![]),
    ];
    assert_eq!(look(&folder.0), wanted, "open");
    block_on(spool.close()).unwrap();
    assert_eq!(look(&folder.0), wanted, "closed");
    let inspector = Inspector::look(&folder.0, None, None).unwrap();
    let queued = &inspector.queued()[0];
    let mut message = block_on(inspector.read(queued, 0b10)).unwrap().unwrap();
    assert_eq!(message.recipients[0].address, "b@a");
    let octets = block_on(whole(&mut message)).unwrap();
    assert!(octets.ends_with(&body(1, 40_000)));
    assert_eq!(inspector.size(), Spool::smallest());
}

#[test]
fn each_recipient_has_the_last_that_was_said_to_it_and_a_history_has_all() {
    let folder = Folder::new("last");
    let spool = folder.open(Real);
    let id = block_on(accept(&spool, &["a@a", "b@a"], b"x")).unwrap();
    for (mask, text) in [(0b11, "451 both"), (0b10, "452 one")] {
        let ticket = due(&spool, ALWAYS).remove(0);
        block_on(put_off(&spool, ticket, &note(mask, text)));
    }
    // What has no words, such as a retry by hand, leaves them.
    assert_eq!(block_on(spool.hasten(None, Lasting::OnDisk)), 1);
    assert_eq!(look(&folder.0)[0].2, 2);
    assert_eq!(look(&folder.0)[0].3, 0);
    assert_eq!(look(&folder.0)[0].4, ["451 both", "452 one"]);
    let history = Inspector::look(&folder.0, None, Some(id)).unwrap();
    let said = |note: &Note| (note.at, note.replies[0].recipients);
    let all: Vec<_> = history.queued()[0].notes.iter().map(said).collect();
    assert_eq!(all, [(NOW, 0b11), (NOW, 0b10)]);
    block_on(spool.close()).unwrap();
}

#[test]
fn a_look_changes_nothing_even_where_a_start_would_mend() {
    let folder = Folder::new("unchanged");
    let spool = folder.open(Real);
    block_on(accept(&spool, &["a@a"], b"x")).unwrap();
    block_on(spool.close()).unwrap();
    std::fs::write(folder.0.join("000009.new"), "half made").unwrap();
    let header = folder.0.join("000002.seg");
    let mut damaged = std::fs::read(&header).unwrap();
    damaged[3] ^= 1;
    std::fs::write(&header, &damaged).unwrap();
    std::fs::remove_file(folder.0.join("lock")).unwrap();
    let files = || {
        let entries = std::fs::read_dir(&folder.0).unwrap();
        let mut files: Vec<_> = entries
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), std::fs::read(&path).unwrap()))
            .collect();
        files.sort();
        files
    };
    let before = files();
    assert_eq!(look(&folder.0).len(), 1);
    assert!(files() == before);
}

#[test]
fn a_look_at_a_busy_spool_shows_old_mail_as_it_is_and_no_finished_mail() {
    let folder = Folder::new("busy");
    let spool = folder.open(Real);
    let id = block_on(accept(&spool, &["a@a"], b"x")).unwrap();
    let ticket = due(&spool, NOW).remove(0);
    block_on(put_off(&spool, ticket, &note(1, "451 not now")));
    // While a look goes on, so much is written that every segment is used again; then the load waits for the next one.
    const MESSAGES: usize = 60;
    let (go_on, wished) = std::sync::mpsc::sync_channel::<()>(0);
    let load = std::thread::spawn({
        let spool = spool.clone();
        move || {
            let mut sent = 0;
            while wished.recv().is_ok() {
                for _ in 0..MESSAGES {
                    block_on(accept(&spool, &["b@a"], &body(sent, 500_000))).unwrap();
                    for ticket in due(&spool, NOW) {
                        block_on(deliver(&spool, ticket));
                    }
                    sent += 1;
                }
            }
            sent
        }
    });
    let mut looks = 0;
    while looks < 10 {
        go_on.send(()).unwrap();
        let shown = look(&folder.0);
        assert_eq!((shown[0].0, shown[0].2, shown[0].3), (id, 1, NOW + 60));
        // Of the load, no more than what is on its way.
        assert!(shown.len() <= 2, "{shown:?}");
        looks += 1;
    }
    drop(go_on);
    assert_eq!(load.join().unwrap(), 10 * MESSAGES);
    let notes = || look(&folder.0)[0].4.len();
    assert_eq!(notes(), 0, "the segment of what was said is used again");
    let ticket = due(&spool, ALWAYS).remove(0);
    block_on(put_off(&spool, ticket, &note(1, "451 still not")));
    assert_eq!(notes(), 1, "it comes back");
    block_on(spool.close()).unwrap();
}

#[test]
fn a_folder_without_a_spool_is_told_and_left_alone() {
    let folder = Folder::new("none");
    let told =
        |result: Result<Inspector, OpenError>| result.err().map(|problem| problem.to_string());
    assert!(told(Inspector::look(&folder.0, None, None)).is_some());
    assert!(!folder.0.exists());
    std::fs::create_dir(&folder.0).unwrap();
    assert!(told(Inspector::look(&folder.0, None, None)).is_some());
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 0);
}

#[test]
fn what_is_taken_by_hand_is_nobody_elses_and_what_is_made_due_is_due() {
    let folder = Folder::new("by-hand");
    let spool = folder.open(Real);
    let ids = ["a@a", "b@a", "c@a"].map(|to| block_on(accept(&spool, &[to], b"x")).unwrap());
    for ticket in due(&spool, NOW) {
        block_on(put_off(&spool, ticket, &Note::default()));
    }
    assert_eq!(block_on(spool.hasten(Some(ids[1]), Lasting::WhileOpen)), 1);
    let flying = due(&spool, NOW);
    assert_eq!(flying.iter().map(Ticket::id).collect::<Vec<_>>(), [ids[1]]);
    assert!(spool.take(ids[1]).is_empty(), "in flight");
    assert_eq!(spool.entries_of(ids[1]), 1);
    let taken = spool.take(ids[0]).remove(0);
    assert_eq!(block_on(spool.hasten(None, Lasting::WhileOpen)), 1);
    assert_eq!(due(&spool, NOW).len(), 1);
    block_on(deliver(&spool, taken));
    block_on(spool.sync()).unwrap();
    assert_eq!(spool.entries_of(ids[0]), 0);
    drop(flying);
    block_on(spool.close()).unwrap();
    // A command on a stopped spool makes no file.
    std::fs::remove_file(folder.0.join("000003.seg")).unwrap();
    let options = Options {
        dir: folder.0.clone(),
        size: Spool::smallest(),
        key: None,
    };
    let spool = Spool::open(&options, Existing, Box::new(lane), NOW).unwrap();
    assert_eq!(spool.entries_of(ids[2]), 1);
    block_on(spool.close()).unwrap();
    assert!(!folder.0.join("000003.seg").exists());
}
