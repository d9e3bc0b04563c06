//! Certificates that are renewed on the disk under a running relay, which nobody tells.

mod certbot;
mod certificates;
mod starttls;
mod support;

use certbot::Certbot;
use certificates::{Made, made, made_between};
use starttls::{Session, shown};
use support::facteur::Facteur;
use support::{Folder, until};

fn start(folder: &Folder, certbot: &Certbot) -> Facteur {
    let flags = ["--certs", &certbot.live(), "--hostname", "relay.test"];
    Facteur::start(folder.as_ref(), &flags)
}

#[track_caller]
fn wait_shown(facteur: &Facteur, name: &str, made: &Made) {
    until("the certificate", || {
        (shown(facteur.port, name) == made.der).then_some(())
    });
}

#[test]
fn a_renewal_is_served_and_sessions_in_progress_go_on() {
    let folder = Folder::new();
    let certbot = Certbot::in_folder(folder.as_ref());
    let (old, new) = (made(&["mx.example.org"]), made(&["mx.example.org"]));
    certbot.renew("mx.example.org", 1, &old);
    let facteur = start(&folder, &certbot);
    let mut session = Session::open(facteur.port, "mx.example.org");
    session.say("EHLO client.test", "250");
    session.say("MAIL FROM:<a@b.test>", "250");
    certbot.renew("mx.example.org", 2, &new);
    wait_shown(&facteur, "mx.example.org", &new);
    session.say("RCPT TO:<c@d.test>", "250");
    session.say("RSET", "250");
    assert!(session.certificate() == old.der);
    facteur.stop();
}

#[test]
fn half_a_renewal_keeps_the_old_pair_and_is_told_once() {
    let folder = Folder::new();
    let certbot = Certbot::in_folder(folder.as_ref());
    let names = ["half.test", "mismatched.test", "witness.test"];
    let old = names.map(|name| made(&[name]));
    let new = names.map(|name| made(&[name]));
    for (name, old) in names.iter().zip(&old) {
        certbot.renew(name, 1, old);
    }
    let facteur = start(&folder, &certbot);
    // The one has no key yet, the other still the old one.
    certbot.archive("mismatched.test", 2, &new[1]);
    certbot.link("mismatched.test", "fullchain", 2);
    certbot.link("half.test", "privkey", 2);
    let kept = "certificate kept as it was folder=";
    facteur.wait_log(&["WARN", kept, "mismatched.test", "fits no certificate"]);
    facteur.wait_log(&["WARN", kept, "half.test", "No such file"]);
    for (name, old) in names.iter().zip(&old) {
        assert!(shown(facteur.port, name) == old.der, "{name}");
    }
    // Another table comes, and the bad ones are as bad as they were.
    certbot.renew("witness.test", 2, &new[2]);
    wait_shown(&facteur, "witness.test", &new[2]);
    let log = facteur.log();
    assert_eq!(log.matches(kept).count(), 2, "{log}");

    certbot.renew("half.test", 2, &new[0]);
    certbot.renew("mismatched.test", 2, &new[1]);
    for (name, new) in names.iter().zip(&new) {
        wait_shown(&facteur, name, new);
    }
    facteur.stop();
}

#[test]
fn two_lineages_for_one_name_are_told_once() {
    let folder = Folder::new();
    let certbot = Certbot::in_folder(folder.as_ref());
    let [first, _] = ["mx-0001", "mx-0002"].map(|lineage| {
        let made = made(&["mx.test"]);
        certbot.renew(lineage, 1, &made);
        made
    });
    let facteur = start(&folder, &certbot);
    let clash = "certificate clash folder=";
    facteur.wait_log(&["WARN", clash, "mx-0002", "served_by=", "mx-0001"]);
    assert!(shown(facteur.port, "mx.test") == first.der);
    // Another table comes, with the same clash.
    certbot.renew("witness.test", 1, &made(&["witness.test"]));
    facteur.wait_log(&["certificates names=2"]);
    let log = facteur.log();
    assert_eq!(log.matches(clash).count(), 1, "{log}");
    facteur.stop();
}

#[test]
fn a_new_lineage_is_served_and_one_that_is_gone_is_not() {
    let folder = Folder::new();
    let certbot = Certbot::in_folder(folder.as_ref());
    let (first, second) = (made(&["first.test"]), made(&["second.test"]));
    certbot.renew("first.test", 1, &first);
    let facteur = start(&folder, &certbot);
    certbot.renew("second.test", 1, &second);
    wait_shown(&facteur, "second.test", &second);
    std::fs::remove_dir_all(format!("{}/first.test", certbot.live())).expect("removed");
    wait_shown(&facteur, "first.test", &second);
    facteur.stop();
}

#[test]
fn a_certificate_that_expires_gives_way_to_a_valid_one_of_the_same_name() {
    let folder = Folder::new();
    let certbot = Certbot::in_folder(folder.as_ref());
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed();
    let now = now.expect("a clock").as_secs();
    // Seconds from its end.
    let (own, next) = (
        made_between(&["mx.test"], now - 86_400, now + 8),
        made(&["mx.test"]),
    );
    certbot.renew("mx.test", 1, &own);
    certbot.renew("mx.test-0001", 1, &next);
    let facteur = start(&folder, &certbot);
    wait_shown(&facteur, "mx.test", &next);
    wait_shown(&facteur, "unknown.test", &next);
    let line = facteur.wait_log(&["WARN", "certificate clash folder=", "has expired"]);
    assert!(
        line.contains("live/mx.test names=") && line.contains("/mx.test-0001 reason="),
        "{line}"
    );
    facteur.stop();
}

#[test]
fn the_hostname_s_folder_that_is_removed_and_names_that_are_dropped_are_told_once() {
    let folder = Folder::new();
    let certbot = Certbot::in_folder(folder.as_ref());
    let relay = made(&["relay.test"]);
    certbot.renew("relay.test", 1, &relay);
    certbot.renew("a.test", 1, &made(&["a.test", "b.test"]));
    let facteur = start(&folder, &certbot);
    std::fs::remove_dir_all(format!("{}/relay.test", certbot.live())).expect("removed");
    let kept = "certificate default kept as it was";
    facteur.wait_log(&["WARN", kept, "relay.test"]);
    assert!(shown(facteur.port, "unknown.test") == relay.der);
    // Other tables come.
    let fewer = made(&["a.test"]);
    certbot.renew("a.test", 2, &fewer);
    let dropped = "dropped=\"b.test (now the default relay.test)\"";
    facteur.wait_log(&["WARN", "certificate renewed for fewer names", dropped]);
    wait_shown(&facteur, "a.test", &fewer);
    certbot.renew("witness.test", 1, &made(&["witness.test"]));
    facteur.wait_log(&["certificate new", "witness.test"]);
    assert!(shown(facteur.port, "unknown.test") == relay.der);
    let log = facteur.log();
    for line in [kept, dropped] {
        assert_eq!(log.matches(line).count(), 1, "{log}");
    }
    facteur.stop();
}
