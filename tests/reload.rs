//! `facteur serve` and its certificates: what boot refuses and warns of, and what SIGHUP changes and keeps.

mod certificates;
mod starttls;
mod support;

use std::time::{SystemTime, UNIX_EPOCH};

use certificates::{Folder as Certs, Made, made, made_between, version_1};
use starttls::shown;
use support::facteur::{Facteur, refused};
use support::{Folder, said, until};

fn start(folder: &Folder, certs: &Certs, hostname: &str) -> Facteur {
    let certs = certs.path().to_str().expect("UTF-8");
    Facteur::start(folder.as_ref(), &["--certs", certs, "--hostname", hostname])
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

#[test]
fn sighup_takes_what_is_good_and_keeps_what_went_bad() {
    let (folder, certs) = (Folder::new(), Certs::new());
    let (relay, other) = (made(&["relay.example.org"]), made(&["a.example.org"]));
    certs.lineage("relay.example.org", &relay);
    certs.lineage("a.example.org", &other);
    let facteur = start(&folder, &certs, "relay.example.org");
    assert!(shown(facteur.port, "unknown.example") == relay.der);

    let renewed = made(&["a.example.org"]);
    certs.lineage("a.example.org", &renewed);
    certs.write("relay.example.org/privkey.pem", &renewed.key);
    facteur.signal("HUP");
    until("the renewed one", || {
        (shown(facteur.port, "a.example.org") == renewed.der).then_some(())
    });
    for name in ["relay.example.org", "unknown.example"] {
        assert!(shown(facteur.port, name) == relay.der, "{name}");
    }
    facteur.wait_log(&[
        "WARN",
        "certificate kept as it was folder=",
        "relay.example.org/privkey.pem",
    ]);
    facteur.stop();
}

#[test]
fn sighups_in_a_row_end_with_the_last_state() {
    let (folder, certs) = (Folder::new(), Certs::new());
    certs.lineage("mx", &made(&["mx.example.org"]));
    let facteur = start(&folder, &certs, "relay.example.org");
    let mut last = Made {
        chain: String::new(),
        key: String::new(),
        der: Vec::new(),
    };
    for _ in 0..10 {
        last = made(&["mx.example.org"]);
        certs.lineage("mx", &last);
        facteur.signal("HUP");
    }
    until("the last one", || {
        (shown(facteur.port, "mx.example.org") == last.der).then_some(())
    });
    facteur.stop();
}

#[test]
fn the_hostname_s_bad_certificate_is_an_error_at_start() {
    let (folder, certs) = (Folder::new(), Certs::new());
    let other = made(&["a.example.org"]);
    certs.lineage("a.example.org", &other);
    certs.write("relay.example.org/fullchain.pem", &version_1(&other));
    certs.write("relay.example.org/privkey.pem", &other.key);
    let dir = certs.path().to_str().expect("UTF-8");
    let flags = ["--certs", dir, "--hostname", "relay.example.org"];
    let flags = [&flags[..], &["--listen", "127.0.0.1:0"]].concat();
    let output = refused(folder.as_ref(), &flags);
    assert_eq!(output.status.code(), Some(1));
    let said = said(&output);
    let problem = said.lines().last().expect("a line");
    assert!(
        problem.starts_with("facteur: the certificate of the hostname relay.example.org")
            && problem.contains("is of X.509 v1, which cannot be used"),
        "{said}"
    );
}

#[test]
fn dates_are_warned_of_at_start_and_at_sighup() {
    const DAY: u64 = 86_400;
    let (folder, certs) = (Folder::new(), Certs::new());
    let old = made_between(&["old.example.org"], now() - 90 * DAY, now() - 5 * DAY);
    certs.lineage("old", &old);
    let facteur = start(&folder, &certs, "relay.example.org");
    facteur.wait_log(&[
        "WARN",
        "certificate dates",
        "/old ",
        "it expired 5 days ago",
    ]);
    let early = made_between(&["old.example.org"], now() + 5 * DAY + 60, now() + 90 * DAY);
    certs.lineage("old", &early);
    facteur.signal("HUP");
    facteur.wait_log(&["WARN", "/old ", "it is not valid yet, but in 5 days"]);
    facteur.stop();
}

#[test]
fn certs_that_give_nothing_are_told_so() {
    let (folder, certs) = (Folder::new(), Certs::new());
    certs.write("mx.example.org/README", "");
    let facteur = start(&folder, &certs, "relay.example.org");
    let dir = certs.path().to_str().expect("UTF-8");
    let given = format!("--certs {dir} gave none that can be used");
    facteur.wait_log(&["WARN", "this build's own for localhost", &given]);
    assert!(!facteur.log().contains("give --certs"));
    facteur.stop();
}
