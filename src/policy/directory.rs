//! Who exists here: what files say of it, read at boot and at SIGHUP, and given to each decision.

use super::aliases::Aliases;
use super::recipients::Recipients;
use super::relay::{Recipient, Relay, Trust, copy_key};
use super::routes::Routes;
use std::sync::{Arc, PoisonError, RwLock};

/// The files' answers. Each is replaced as a whole.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    /// `--recipients`; None: each `--domain` takes every local part.
    pub recipients: Option<Arc<Recipients>>,
    /// `--alias`.
    pub aliases: Option<Arc<Aliases>>,
}

/// Who may send to whom, and whom an address stands for: asked alike by sessions at RCPT and by what writes reports.
#[derive(Debug, Default)]
pub struct Names {
    /// What the flags say.
    pub relay: Relay,
    /// Where mail goes: it decides which recipients exist.
    pub routes: Arc<Routes>,
    /// What the files say; replaced when they are read again.
    served: RwLock<Arc<Directory>>,
}

impl Names {
    /// With a directory to begin with.
    #[must_use]
    pub fn new(relay: Relay, routes: Arc<Routes>, directory: Directory) -> Self {
        Self {
            relay,
            routes,
            served: RwLock::new(Arc::new(directory)),
        }
    }

    /// The present directory.
    #[must_use]
    pub fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.served.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another in its place.
    pub fn replace(&self, directory: Directory) {
        let new = Arc::new(directory);
        *self.served.write().unwrap_or_else(PoisonError::into_inner) = new;
    }

    /// The answer to RCPT.
    #[must_use]
    pub fn recipient(&self, trust: Trust, address: &str) -> Recipient {
        self.relay
            .recipient(trust, address, &self.routes, &self.directory())
    }

    /// Whom `<Postmaster>` stands for; empty: nobody.
    #[must_use]
    pub fn postmaster(&self) -> Vec<String> {
        let all = self.relay.postmaster(&self.routes, &self.directory());
        self.distinct(all.unwrap_or_default())
    }

    /// Whom the relay's own mail for an address goes to, each mailbox once; empty: the address is ours, and there is
    /// nobody.
    #[must_use]
    pub fn stands_for(&self, address: &str) -> Vec<String> {
        match self.recipient(Trust::Trusted, address) {
            Recipient::Accepted => vec![address.to_owned()],
            Recipient::Expanded(all) => self.distinct(all),
            Recipient::NoDomain | Recipient::RelayDenied | Recipient::Unknown => Vec::new(),
        }
    }

    fn distinct(&self, addresses: Vec<String>) -> Vec<String> {
        let mut keys = Vec::with_capacity(addresses.len());
        let mut is_first = |address: &String| {
            let key = copy_key(address, &self.routes);
            let first = !keys.contains(&key);
            keys.push(key);
            first
        };
        addresses.into_iter().filter(|it| is_first(it)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::aliases::Home;

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

    #[test]
    fn the_relay_s_own_mail_is_expanded_as_rcpt_is() {
        let list = "ann@near.example\n";
        let aliases = "cron: Ann@near.example, ann@near.example, x@else.example\n";
        let Lab {
            relay,
            routes,
            directory,
        } = Lab::new(Some(list), Some(aliases));
        let names = Names::new(relay, Arc::new(routes), directory);
        for (address, whom) in [
            ("cron@pi", &["Ann@near.example", "x@else.example"][..]),
            ("ann+tag@near.example", &["ann@near.example"]),
            ("x@else.example", &["x@else.example"]),
            ("nobody@pi", &[]),
            ("eve@near.example", &[]),
            ("postmaster@near.example", &[]),
        ] {
            assert_eq!(names.stands_for(address), whom, "{address}");
        }
        let aliases = Aliases::parse("postmaster: ann@near.example", "pi", |_| Home::Mailboxes);
        names.replace(Directory {
            aliases: Some(Arc::new(aliases.unwrap())),
            ..Directory::clone(&names.directory())
        });
        assert_eq!(names.stands_for("cron@pi"), ["cron@pi"; 0]);
        let ann = ["ann@near.example"];
        assert_eq!(names.stands_for("postmaster@near.example"), ann);
        assert_eq!(names.postmaster(), ann);
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

    /// A route for the host name or for its parent is meant, and was followed before there were aliases; `*` is the rest.
    #[test]
    fn the_machine_s_other_names_go_where_a_route_leads_them_and_not_where_the_rest_goes() {
        let mut lab = Lab::new(None, Some("root: me@else.example\n"));
        lab.relay.hostname = "pi.lab.example".into();
        let hub = || "smtp:[hub]".parse().unwrap();
        lab.routes.add("*", hub()).unwrap();
        let ask = |lab: &Lab| lab.ask(Trust::Trusted, "bob@pi.lab.example");
        assert_eq!(ask(&lab), Recipient::Unknown);
        for route in [".example", ".lab.example", "pi.lab.example"] {
            let mut lab = Lab::new(None, Some("root: me@else.example\n"));
            lab.relay.hostname = "pi.lab.example".into();
            lab.routes.add(route, hub()).unwrap();
            assert_eq!(ask(&lab), Recipient::Accepted, "{route}");
            let me = to(&["me@else.example"]);
            assert_eq!(lab.ask(Trust::Trusted, "root@pi.lab.example"), me);
            assert_eq!(lab.ask(Trust::Trusted, "bob@localhost"), Recipient::Unknown);
        }
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
                .postmaster(&lab.routes, &lab.directory)
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
        lab.relay.postmaster = Some("root@near.example".into());
        assert_eq!(whom(&lab).as_deref(), Some("a@x.example b@x.example"));
        lab.relay.postmaster = Some("root@x.example".into());
        assert_eq!(whom(&lab).as_deref(), Some("root@x.example"));
    }
}
