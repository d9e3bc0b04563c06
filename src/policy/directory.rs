//! Who exists here: what files say of it, read at boot and at SIGHUP, and given to each decision.

use super::aliases::Aliases;
use super::recipients::Recipients;
use std::sync::Arc;

/// The files' answers. Each is replaced as a whole.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    /// `--recipients`; None: each `--domain` takes every local part.
    pub recipients: Option<Arc<Recipients>>,
    /// `--alias`.
    pub aliases: Option<Arc<Aliases>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::relay::{Recipient, Relay, Trust};
    use crate::policy::routes::Routes;

    struct Lab {
        relay: Relay,
        routes: Routes,
        directory: Directory,
    }

    impl Lab {
        fn new(recipients: Option<&str>, aliases: Option<&str>) -> Self {
            let mut routes = Routes::default();
            for (name, target) in [
                ("far.example", "smtp:[inner]"),
                ("near.example", "maildir:/m/{user}"),
            ] {
                routes.add(name, target.parse().unwrap()).unwrap();
            }
            let relay = Relay {
                hostname: "pi".into(),
                domains: vec!["far.example".into(), "near.example".into()],
                ..Relay::default()
            };
            let recipients = recipients.map(|text| Recipients::parse(text, |it| relay.is_ours(it)));
            let aliases =
                aliases.map(|text| Aliases::parse(text, "pi", |it| relay.home(it, &routes)));
            let directory = Directory {
                recipients: recipients.map(|list| Arc::new(list.unwrap())),
                aliases: aliases.map(|aliases| Arc::new(aliases.unwrap())),
            };
            Self {
                relay,
                routes,
                directory,
            }
        }

        fn ask(&self, trust: Trust, address: &str) -> Recipient {
            self.relay
                .recipient(trust, address, &self.routes, &self.directory)
        }
    }

    fn to(addresses: &[&str]) -> Recipient {
        Recipient::Expanded(addresses.iter().map(|&it| it.to_owned()).collect())
    }

    #[test]
    fn who_is_not_listed_is_unknown_to_everyone() {
        let list = "ann@far.example\nbob@near.example\n";
        let lab = Lab::new(Some(list), None);
        for trust in [Trust::Trusted, Trust::Certified, Trust::Stranger] {
            for (address, answer) in [
                ("Ann@FAR.example", Recipient::Accepted),
                ("ann+tag@far.example", Recipient::Accepted),
                ("bob@near.example", Recipient::Accepted),
                ("bob+tag@near.example", to(&["bob@near.example"])),
                ("eve@far.example", Recipient::Unknown),
                ("eve+bob@near.example", Recipient::Unknown),
                ("postmaster@far.example", Recipient::Unknown),
            ] {
                assert_eq!(lab.ask(trust, address), answer, "{address}");
            }
        }
        assert_eq!(
            lab.ask(Trust::Trusted, "x@else.example"),
            Recipient::Accepted
        );
        assert_eq!(
            lab.ask(Trust::Stranger, "x@else.example"),
            Recipient::RelayDenied
        );
    }

    #[test]
    fn aliases_are_the_machine_s_for_its_own_clients_and_a_maildir_domain_s_for_all() {
        let lab = Lab::new(None, Some("root: me@else.example, \\bob@near.example\n"));
        let both = to(&["me@else.example", "bob@near.example"]);
        for address in [
            "root@pi",
            "ROOT@localhost",
            "root+cron@pi",
            "root@near.example",
        ] {
            assert_eq!(lab.ask(Trust::Trusted, address), both, "{address}");
        }
        assert_eq!(lab.ask(Trust::Stranger, "root@near.example"), both);
        assert_eq!(lab.ask(Trust::Stranger, "root@pi"), Recipient::RelayDenied);
        assert_eq!(
            lab.ask(Trust::Stranger, "root@far.example"),
            Recipient::Accepted
        );
        assert_eq!(lab.ask(Trust::Trusted, "nobody@pi"), Recipient::Unknown);
        assert_eq!(
            lab.ask(Trust::Trusted, "nobody@near.example"),
            Recipient::Accepted
        );
        // Without a file the machine's own name goes where the rest goes.
        let without = Lab::new(None, None);
        assert_eq!(without.ask(Trust::Trusted, "root@pi"), Recipient::Accepted);
    }

    #[test]
    fn postmaster_is_known_wherever_somebody_is() {
        let list = "ann@near.example\n";
        let mut lab = Lab::new(Some(list), Some("postmaster: ann@near.example\n"));
        let ann = to(&["ann@near.example"]);
        for address in [
            "Postmaster@near.example",
            "POSTMASTER@far.example",
            "\"postmaster\"@far.example",
        ] {
            assert_eq!(lab.ask(Trust::Stranger, address), ann, "{address}");
        }
        lab.relay.postmaster = Some("boss@else.example".into());
        assert_eq!(
            lab.ask(Trust::Stranger, "postmaster@far.example"),
            to(&["boss@else.example"])
        );
        // A domain that knows its own keeps it.
        let own = Lab::new(Some("@far.example\n"), Some("root: x@else.example\n"));
        assert_eq!(
            own.ask(Trust::Stranger, "postmaster@far.example"),
            Recipient::Accepted
        );
        let there = to(&["postmaster@far.example"]);
        for address in ["postmaster@near.example", "postmaster@pi"] {
            assert_eq!(own.ask(Trust::Trusted, address), there, "{address}");
        }
    }

    #[test]
    fn whom_the_postmaster_is() {
        let whom = |lab: &Lab| {
            lab.relay
                .postmaster(&lab.directory)
                .map(|all| all.join(" "))
        };
        let mut lab = Lab::new(None, None);
        assert_eq!(whom(&lab).as_deref(), Some("postmaster@far.example"));
        lab.relay.domains.clear();
        assert_eq!(whom(&lab), None);
        assert_eq!(whom(&Lab::new(Some("ann@far.example\n"), None)), None);
        let mut lab = Lab::new(
            None,
            Some("postmaster: root\nroot: a@x.example, b@x.example\n"),
        );
        assert_eq!(whom(&lab).as_deref(), Some("a@x.example b@x.example"));
        lab.relay.postmaster = Some("root@pi".into());
        assert_eq!(whom(&lab).as_deref(), Some("a@x.example b@x.example"));
        lab.relay.postmaster = Some("root@x.example".into());
        assert_eq!(whom(&lab).as_deref(), Some("root@x.example"));
    }
}
