//! Which target a recipient's domain has: `--domain`, `--route`, `--relay`, else DNS.

use super::idn;
use super::target::{Target, host_name};
use std::collections::HashMap;

/// A number for a next hop: messages of one lane share its connections and wait for one another.
///
/// It is computed from the target (or from the domain, where the target is its MX), so that it never reaches the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lane(pub u32);

/// The routing table, built once from the flags. Its names are A-labels in lower case.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    exact: HashMap<String, Target>,
    /// `.parent` entries, by the parent without its dot: its subdomains at any depth, not the parent itself.
    parents: HashMap<String, Target>,
    /// `*`, else the smarthost, else none: DNS.
    rest: Option<Target>,
}

impl Routes {
    /// Adds `NAME=TARGET`; NAME is a domain, `.parent` or `*`. The first entry for a NAME wins.
    ///
    /// # Errors
    /// One line that says what is accepted, or which NAME came twice.
    pub fn add(&mut self, name: &str, target: Target) -> Result<(), String> {
        let wrong = || format!("{name:?} is no domain, .parent or *");
        let new = if name == "*" {
            let new = self.rest.is_none();
            self.rest.get_or_insert(target);
            new
        } else if let Some(parent) = name.strip_prefix('.') {
            insert(
                &mut self.parents,
                host_name(parent).ok_or_else(wrong)?,
                target,
            )
        } else {
            insert(&mut self.exact, host_name(name).ok_or_else(wrong)?, target)
        };
        if new {
            Ok(())
        } else {
            Err(format!("{name:?} has two targets"))
        }
    }

    /// Sets what no entry names, unless a `*` entry has.
    pub fn set_rest(&mut self, target: Target) {
        self.rest.get_or_insert(target);
    }

    /// The target for a recipient's domain: its own entry, the nearest `.parent`, the rest.
    #[must_use]
    pub fn target(&self, domain: &str) -> &Target {
        self.target_of_key(&idn::key(domain))
    }

    fn target_of_key(&self, key: &str) -> &Target {
        let named = self.target_by_name(key);
        named.or(self.rest.as_ref()).unwrap_or(&Target::Mx)
    }

    fn target_by_name(&self, key: &str) -> Option<&Target> {
        if let Some(target) = self.exact.get(key) {
            return Some(target);
        }
        let mut below = key;
        while let Some((_, parent)) = below.split_once('.') {
            if let Some(target) = self.parents.get(parent) {
                return Some(target);
            }
            below = parent;
        }
        None
    }

    /// Whether an entry of its own, or a `.parent`, leads the domain somewhere.
    #[must_use]
    pub fn names(&self, domain: &str) -> bool {
        self.target_by_name(&idn::key(domain)).is_some()
    }

    /// The lane of a recipient, by its address.
    #[must_use]
    pub fn lane(&self, address: &str) -> Lane {
        let key = idn::key(domain(address));
        match self.target_of_key(&key) {
            Target::Mx => Lane(hash(key.as_bytes())),
            target => Lane(hash(target.to_string().as_bytes())),
        }
    }

    /// Where goes what no entry names, unless it goes by DNS.
    #[must_use]
    pub fn rest(&self) -> Option<&Target> {
        self.rest.as_ref()
    }

    /// Every target that the table names.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        self.exact
            .values()
            .chain(self.parents.values())
            .chain(&self.rest)
    }
}

/// Adds what is not there; whether it was not.
fn insert(table: &mut HashMap<String, Target>, name: String, target: Target) -> bool {
    let new = !table.contains_key(&name);
    table.entry(name).or_insert(target);
    new
}

/// What stands behind an address's last `@`.
#[must_use]
pub fn domain(address: &str) -> &str {
    address.rsplit_once('@').map_or("", |(_, domain)| domain)
}

/// FNV-1a: small, and lanes need no resistance to collisions (two targets in one lane only wait for one another).
fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes() -> Routes {
        let mut routes = Routes::default();
        for (name, target) in [
            ("One.Example", "smtp:[a]"),
            (".example", "smtp:[b]"),
            (".deep.example", "smtp:[c]"),
        ] {
            routes.add(name, target.parse().unwrap()).unwrap();
        }
        routes
    }

    #[test]
    fn the_nearest_entry_wins() {
        let routes = routes();
        for (domain, target) in [
            ("one.example", "smtp:[a]"),
            ("ONE.EXAMPLE", "smtp:[a]"),
            ("two.example", "smtp:[b]"),
            ("x.deep.example", "smtp:[c]"),
            ("x.y.deep.example", "smtp:[c]"),
            ("deep.example", "smtp:[b]"),
            ("example", "mx"),
            ("other.test", "mx"),
        ] {
            assert_eq!(routes.target(domain).to_string(), target, "{domain}");
        }
    }

    #[test]
    fn a_star_takes_the_rest_and_beats_the_smarthost() {
        let mut routes = routes();
        routes.set_rest(Target::smarthost("relay.test").unwrap());
        assert_eq!(routes.target("other.test").to_string(), "smtp:[relay.test]");
        let mut routes = self::routes();
        routes.add("*", "smtp:[star]".parse().unwrap()).unwrap();
        routes.set_rest(Target::smarthost("relay.test").unwrap());
        assert_eq!(routes.target("other.test").to_string(), "smtp:[star]");
    }

    #[test]
    fn two_targets_for_a_name_are_an_error() {
        let mut routes = routes();
        assert!(
            routes
                .add("one.example", Target::Mx)
                .unwrap_err()
                .contains("two targets")
        );
        assert!(
            routes
                .add("a b", Target::Mx)
                .unwrap_err()
                .contains("is no domain")
        );
        assert!(routes.add("..example", Target::Mx).is_err());
    }

    #[test]
    fn a_domain_is_one_however_it_is_written() {
        for given in ["bücher.example", "XN--bcher-kva.example.", "BÜCHER.example"] {
            let mut routes = Routes::default();
            routes.add(given, "smtp:[a]".parse().unwrap()).unwrap();
            routes
                .add(&format!(".{given}"), "smtp:[b]".parse().unwrap())
                .unwrap();
            for (domain, target) in [
                ("bücher.example", "smtp:[a]"),
                ("bu\u{308}cher.EXAMPLE", "smtp:[a]"),
                ("xn--bcher-kva.example", "smtp:[a]"),
                ("neue.bücher.example", "smtp:[b]"),
                ("bucher.example", "mx"),
            ] {
                assert_eq!(routes.target(domain).to_string(), target, "{domain}");
            }
            assert!(routes.add("Bücher.example", Target::Mx).is_err());
        }
        let routes = Routes::default();
        let lanes = ["a@ü.test", "b@Ü.test", "c@xn--tda.test"].map(|address| routes.lane(address));
        assert!(lanes[0] == lanes[1] && lanes[1] == lanes[2]);
        assert_ne!(routes.lane("a@ü.test"), routes.lane("a@u.test"));
    }

    #[test]
    fn lanes_follow_the_target_or_else_the_domain() {
        let routes = routes();
        assert_eq!(routes.lane("a@two.example"), routes.lane("b@three.example"));
        assert_ne!(routes.lane("a@two.test"), routes.lane("a@three.test"));
        assert_eq!(routes.lane("a@two.test"), routes.lane("b@TWO.test"));
    }
}
