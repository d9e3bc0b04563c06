//! From which of this machine's addresses connections go out, and over which family.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// `--outbound-family`: which addresses of a host are dialled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// Both.
    #[default]
    Any,
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
}

impl Family {
    /// Whether an address of it is dialled.
    #[must_use]
    pub fn admits(self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

impl FromStr for Family {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "4" => Ok(Self::V4),
            "6" => Ok(Self::V6),
            "any" => Ok(Self::Any),
            other => Err(format!("{other:?} is no family: 4, 6 or any")),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "any",
            Self::V4 => "4",
            Self::V6 => "6",
        })
    }
}

/// `--outbound-address`: the address that connections of a family come from; None: the system chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
}

impl Sources {
    /// One address of each family at most, and none of a family that is not dialled.
    ///
    /// # Errors
    /// One line that names the flags that clash.
    pub fn of(family: Family, addresses: &[IpAddr]) -> Result<Self, String> {
        let mut sources = Self::default();
        for &address in addresses {
            if !family.admits(address) {
                return Err(format!(
                    "--outbound-address {address} and --outbound-family {family}: nothing would go out from it; give one"
                ));
            }
            let other = match address {
                IpAddr::V4(v4) => sources.v4.replace(v4).map(IpAddr::V4),
                IpAddr::V6(v6) => sources.v6.replace(v6).map(IpAddr::V6),
            };
            if let Some(other) = other {
                return Err(format!(
                    "--outbound-address {other} and {address}: one of each family at most"
                ));
            }
        }
        Ok(sources)
    }

    /// The address that a connection to `address` comes from. Where the one that was given leads nowhere, because only one
    /// of the two is a loopback address, the system chooses.
    #[must_use]
    pub fn towards(&self, address: IpAddr) -> Option<IpAddr> {
        let source = match address {
            IpAddr::V4(_) => self.v4.map(IpAddr::V4),
            IpAddr::V6(_) => self.v6.map(IpAddr::V6),
        };
        source.filter(|source| source.is_loopback() == address.is_loopback())
    }

    /// Those that were given.
    pub fn given(&self) -> impl Iterator<Item = IpAddr> {
        let v4 = self.v4.map(IpAddr::V4);
        v4.into_iter().chain(self.v6.map(IpAddr::V6))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(family: Family, addresses: &[&str]) -> Result<Sources, String> {
        let addresses: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
        Sources::of(family, &addresses)
    }

    #[test]
    fn each_family_has_its_source_and_one_without_is_the_system_s() {
        let both = sources(Family::Any, &["192.0.2.1", "2001:db8::1"]).unwrap();
        let four = sources(Family::Any, &["192.0.2.1"]).unwrap();
        let loopback = sources(Family::Any, &["127.0.0.2"]).unwrap();
        let source = |sources: Sources, to: &str| {
            let towards = sources.towards(to.parse().unwrap());
            towards.map_or_else(String::new, |source| source.to_string())
        };
        assert_eq!(source(both, "198.51.100.1"), "192.0.2.1");
        assert_eq!(source(both, "2001:db8::2"), "2001:db8::1");
        assert_eq!(source(four, "2001:db8::2"), "");
        assert_eq!(source(both, "127.0.0.1"), "");
        assert_eq!(source(loopback, "127.0.0.1"), "127.0.0.2");
        assert_eq!(source(loopback, "198.51.100.1"), "");
    }

    #[test]
    fn clashes_are_told() {
        let two = sources(Family::Any, &["192.0.2.1", "192.0.2.2"]).unwrap_err();
        assert!(two.contains("192.0.2.1 and 192.0.2.2"), "{two}");
        let none = sources(Family::V4, &["2001:db8::1"]).unwrap_err();
        assert!(none.contains("--outbound-family 4"), "{none}");
        assert!(
            "both"
                .parse::<Family>()
                .unwrap_err()
                .contains("4, 6 or any")
        );
    }
}
