//! Attempts against scripted next hops, by TLS level.

mod next_hop;

use facteur::outbound::attempt::FinalDot;
use facteur::outbound::route::Hops;
use facteur::policy::level::Level;
use next_hop::*;
use smol::block_on;
use std::sync::atomic::Ordering::Relaxed;

fn offering() -> Vec<Do> {
    vec![
        Say("220 mx\r\n"),
        Hear("EHLO me\r\n"),
        Say("250-mx\r\n250-SIZE 1\r\n250 STARTTLS\r\n"),
    ]
}

fn starting() -> Vec<Do> {
    let mut script = offering();
    script.push(Hear("STARTTLS\r\n"));
    script
}

/// `start`, then `then`.
fn with(start: Vec<Do>, then: impl IntoIterator<Item = Do>) -> Vec<Do> {
    start.into_iter().chain(then).collect()
}

/// What `accepting` does once the greeting is over.
fn taking() -> Vec<Do> {
    accepting().split_off(1)
}

#[test]
fn starttls_is_used_where_offered_and_ehlo_said_again() {
    for level in [Level::May, Level::Encrypt] {
        block_on(async {
            let script = with(with(starting(), [Say("220 go\r\n"), Tls]), taking());
            let hop = NextHop::start(vec![script]);
            let connector = connector(level);
            let mut hops = Hops::fixed(vec![hop.hop()]);
            let dot = FinalDot::default();
            let delivery = connector
                .deliver(None, &mut hops, &mut letter(&["a@y"]), &dot)
                .await;
            assert_eq!(told(&delivery), ["delivered 250 2.0.0 kept"]);
            let connection = delivery.connection.unwrap();
            let security = connection.peer().security();
            assert!(security.starts_with("TLSv1.3 TLS_"), "{security}");
            assert_eq!(
                connection.peer().tls.as_ref().unwrap().sni(),
                Some("localhost")
            );
            connection.quit().await;
            hop.done().await;
        });
    }
}

#[test]
fn at_none_starttls_is_not_used() {
    block_on(async {
        let mut script = accepting();
        script[2] = Say("250-mx\r\n250-STARTTLS\r\n250 PIPELINING\r\n");
        let hop = NextHop::start(vec![script]);
        let delivery = deliver(&connector(Level::None), &mut letter(&["a@y"]), vec![hop]).await;
        assert_eq!(told(&delivery), ["delivered 250 2.0.0 kept"]);
    });
}

/// What can go wrong between STARTTLS and the first reply inside.
fn failing() -> Vec<Vec<Do>> {
    vec![
        with(starting(), [Say("454 4.7.0 no\r\n"), HearEnd]),
        with(starting(), [Say("500 what\r\n"), HearEnd]),
        with(starting(), []),
        with(
            starting(),
            [
                Say("220 go\r\n"),
                HearSome(1),
                Say("no TLS at all\r\n"),
                HearRest,
            ],
        ),
        with(starting(), [Say("220 go\r\n"), Reset]),
        with(starting(), [Say("220 go\r\n"), Tls]),
    ]
}

#[test]
fn at_may_failed_tls_means_clear_on_a_new_connection() {
    for script in failing() {
        let about = format!("{script:?}");
        block_on(async {
            let mut clear = accepting();
            clear[2] = Say("250-mx\r\n250-STARTTLS\r\n250 PIPELINING\r\n");
            let hop = NextHop::start(vec![script, clear]);
            let connector = connector(Level::May);
            let delivery = deliver(&connector, &mut letter(&["a@y"]), vec![hop]).await;
            assert_eq!(told(&delivery), ["delivered 250 2.0.0 kept"], "{about}");
            assert_eq!(connector.counters.fell_back_to_clear.load(Relaxed), 1);
        });
    }
}

#[test]
fn at_encrypt_failed_tls_means_the_next_host_and_nothing_in_clear() {
    for script in failing() {
        let about = format!("{script:?}");
        block_on(async {
            let good = with(with(starting(), [Say("220 go\r\n"), Tls]), taking());
            let hops = vec![NextHop::start(vec![script]), NextHop::start(vec![good])];
            let delivery = deliver(&connector(Level::Encrypt), &mut letter(&["a@y"]), hops).await;
            assert_eq!(told(&delivery), ["delivered 250 2.0.0 kept"], "{about}");
        });
    }
}

#[test]
fn at_encrypt_a_host_without_starttls_gets_nothing() {
    block_on(async {
        let script = vec![
            Say("220 mx\r\n"),
            Hear("EHLO me\r\n"),
            Say("250 mx\r\n"),
            HearEnd,
        ];
        let hop = NextHop::start(vec![script]);
        let delivery = deliver(&connector(Level::Encrypt), &mut letter(&["a@y"]), vec![hop]).await;
        assert_eq!(
            told(&delivery),
            ["deferred 4.7.4 TLS is required and the host does not offer STARTTLS"]
        );
        let refused = with(starting(), [Say("454 4.7.0 no key\r\n"), HearEnd]);
        let hop = NextHop::start(vec![refused]);
        let delivery = deliver(&connector(Level::Encrypt), &mut letter(&["a@y"]), vec![hop]).await;
        assert_eq!(
            told(&delivery),
            ["deferred 4.7.4 the host offers STARTTLS and refuses it: 454 4.7.0 no key"]
        );
    });
}

/// Injected octets (CVE-2011-0411) are no reason to go on in clear, at any level.
#[test]
fn octets_behind_the_reply_to_starttls_defer_the_message() {
    for level in [Level::May, Level::Encrypt] {
        block_on(async {
            let script = with(
                starting(),
                [Say("220 go\r\n250-mx\r\n250 SIZE\r\n"), HearEnd],
            );
            let (hop, other) = (NextHop::start(vec![script]), Untried::start());
            let (connector, dot) = (connector(level), FinalDot::default());
            let mut hops = Hops::fixed(vec![hop.hop(), other.hop()]);
            let mut letter = letter(&["a@y"]);
            let delivery = connector.deliver(None, &mut hops, &mut letter, &dot).await;
            assert_eq!(
                told(&delivery),
                ["deferred 4.7.0 octets in clear came behind the reply to STARTTLS"]
            );
            other.check();
            hop.done().await;
        });
    }
}

#[test]
fn implicit_tls_comes_before_the_greeting_at_every_level() {
    for level in [Level::None, Level::May, Level::Encrypt] {
        block_on(async {
            let hop = NextHop::start(vec![with(vec![Tls], accepting())]);
            let mut implicit = hop.hop();
            implicit.implicit_tls = true;
            let (connector, dot) = (connector(level), FinalDot::default());
            let mut hops = Hops::fixed(vec![implicit]);
            let delivery = connector
                .deliver(None, &mut hops, &mut letter(&["a@y"]), &dot)
                .await;
            assert_eq!(told(&delivery), ["delivered 250 2.0.0 kept"]);
            let connection = delivery.connection.unwrap();
            assert!(connection.peer().tls.is_some());
            connection.quit().await;
            hop.done().await;
        });
    }
}

#[test]
fn failed_implicit_tls_never_becomes_clear() {
    block_on(async {
        let hop = NextHop::start(vec![vec![Say("220 mx\r\n"), HearRest]]);
        let mut implicit = hop.hop();
        implicit.implicit_tls = true;
        let (connector, dot) = (connector(Level::May), FinalDot::default());
        let mut hops = Hops::fixed(vec![implicit]);
        let delivery = connector
            .deliver(None, &mut hops, &mut letter(&["a@y"]), &dot)
            .await;
        let told = told(&delivery);
        assert!(
            told[0].starts_with("deferred 4.7.5 TLS handshake failed: "),
            "{told:?}"
        );
        assert_eq!(connector.counters.fell_back_to_clear.load(Relaxed), 0);
        hop.done().await;
    });
}
