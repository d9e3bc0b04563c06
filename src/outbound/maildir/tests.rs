//! Tests of maildir.rs: what a mail reader finds in the folder.

use super::*;
use smol::block_on;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

fn temporary(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("facteur-maildir-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    path
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect()
}

#[test]
fn a_message_arrives_whole_with_its_envelope_on_top() {
    let root = temporary("whole");
    let box_path = root.join("deep/ann");
    let maildir = Maildir::start("relay.example").unwrap();
    let body = format!(
        "Subject: x\r\n\r\n{}\r\nlone \r stays\r\n",
        "long ".repeat(20_000)
    );
    let given = format!("Return-Path: <forged@example.net>\r\n (folded)\r\n{body}");
    block_on(async {
        let mut delivery = maildir.deliver(box_path.clone(), "bob@example.net", "ann@example.com");
        // Cut so that a CR and its LF come apart.
        let (one, other) = given.split_at(given.find("\r\n").unwrap() + 1);
        delivery.write(one.as_bytes()).await.unwrap();
        delivery.write(other.as_bytes()).await.unwrap();
        delivery.finish().await.unwrap();
    });
    let found = files(&box_path.join("new"));
    assert_eq!(found.len(), 1);
    let text = fs::read_to_string(&found[0]).unwrap();
    let envelope = "Return-Path: <bob@example.net>\nDelivered-To: ann@example.com\n";
    assert_eq!(text, format!("{envelope}{}", body.replace("\r\n", "\n")));
    assert!(files(&box_path.join("tmp")).is_empty());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for path in [box_path.join("cur"), box_path.clone(), root.join("deep")] {
        assert_eq!(mode(&path), 0o700, "{}", path.display());
    }
    assert_eq!(mode(&found[0]), 0o600);
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn many_at_once_all_arrive() {
    let root = temporary("many");
    let maildir = Maildir::start("relay.example").unwrap();
    let executor = smol::LocalExecutor::new();
    block_on(executor.run(async {
        let tasks: Vec<_> = (0..100)
            .map(|n| {
                let delivery =
                    maildir.deliver(root.join(format!("user{}", n % 3)), "", "x@example.com");
                executor.spawn(async move { delivery.finish().await.unwrap() })
            })
            .collect();
        for task in tasks {
            task.await;
        }
    }));
    let count = |user| files(&root.join(user).join("new")).len();
    assert_eq!(
        (count("user0"), count("user1"), count("user2")),
        (34, 33, 33)
    );
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn a_delivery_that_is_given_up_leaves_nothing() {
    let root = temporary("given-up");
    let maildir = Maildir::start("relay.example").unwrap();
    block_on(async {
        let mut delivery = maildir.deliver(root.clone(), "", "x@example.com");
        delivery
            .write(&[b'x'; 3 * limits::MAILDIR_CHUNK])
            .await
            .unwrap();
        assert_eq!(files(&root.join("tmp")).len(), 1);
    });
    drop(maildir);
    // Nobody waits for the threads, so the test has to.
    let end = Instant::now() + Duration::from_secs(30);
    while !files(&root.join("tmp")).is_empty() {
        assert!(Instant::now() < end, "the file in tmp is still there");
        thread::sleep(Duration::from_millis(5));
    }
    assert!(files(&root.join("new")).is_empty());
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn a_path_that_cannot_be_is_an_error_and_the_next_delivery_goes_on() {
    let root = temporary("error");
    fs::create_dir_all(&root).unwrap();
    fs::write(root.join("file"), "").unwrap();
    let maildir = Maildir::start("relay.example").unwrap();
    block_on(async {
        let bad = maildir
            .deliver(root.join("file/box"), "", "x@example.com")
            .finish()
            .await;
        let error = bad.unwrap_err();
        assert!(!error.is_permanent() && error.status() == "4.3.0");
        let long = maildir
            .deliver(root.join("n".repeat(300)), "", "x@example.com")
            .finish()
            .await;
        assert!(long.unwrap_err().is_permanent());
        maildir
            .deliver(root.join("good"), "", "x@example.com")
            .finish()
            .await
            .unwrap();
    });
    assert_eq!(files(&root.join("good/new")).len(), 1);
    fs::remove_dir_all(root).unwrap();
}
