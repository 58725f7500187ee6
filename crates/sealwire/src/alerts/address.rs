//! Which addresses may be connected to.
//!
//! A webhook's name may lead anywhere, and to another place each time it is looked up. So what
//! counts is the address that is connected to, and never the name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where clouds tell a machine its own secrets, beside the link-local addresses.
const METADATA: [Ipv4Addr; 2] = [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192)];
const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// What kind of place an address leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The network that all share.
    Public,
    /// This machine.
    Loopback,
    /// A network of somebody's own.
    Private,
    /// Nowhere that an alert could be meant for: link-local, metadata, many at once, nobody.
    Never,
}

pub(super) fn place(address: IpAddr) -> Place {
    match address {
        IpAddr::V4(address) => place_v4(address),
        IpAddr::V6(address) => place_v6(address),
    }
}

fn place_v4(address: Ipv4Addr) -> Place {
    let [a, b, c, _] = address.octets();
    if METADATA.contains(&address) {
        return Place::Never;
    }
    match (a, b, c) {
        (0 | 224..=255, ..) | (169, 254, _) => Place::Never,
        (127, ..) => Place::Loopback,
        // RFC 1918; RFC 6598, shared; RFC 6890, 5737 and 2544, of which nothing is public.
        (10, ..) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _) => Place::Private,
        (192, 0, 0 | 2) | (198, 18 | 19, _) | (198, 51, 100) | (203, 0, 113) => Place::Private,
        _ => Place::Public,
    }
}

fn place_v6(address: Ipv6Addr) -> Place {
    if METADATA_V6.contains(&address) {
        return Place::Never;
    }
    let [a, b, c, d, e, f, g, h] = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        place_v4(Ipv4Addr::new(a, b, c, d))
    };
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0) if (g, h) == (0, 1) => Place::Loopback,
        (0, 0, 0, 0, 0, 0) if (g, h) == (0, 0) => Place::Never,
        // An IPv4 address in the clothes of an IPv6 one: mapped, compatible, translated
        // (RFC 6052), 6to4 (RFC 3056).
        (0, 0, 0, 0, 0, 0xffff | 0) | (0x64, 0xff9b, 0, 0, 0, 0) => embedded(g, h),
        (0x2002, ..) => embedded(b, c),
        // Translation within a site, Teredo, discard, documentation.
        (0x64, 0xff9b, ..) | (0x2001, 0 | 0xdb8, ..) | (0x100, 0, 0, 0, ..) | (0x3fff, ..) => {
            Place::Private
        }
        (0xfc00..=0xfdff, ..) => Place::Private,
        // All that is given out to the public begins with 001 (RFC 4291 §2.4).
        (0x2000..=0x3fff, ..) => Place::Public,
        _ => Place::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_place_however_it_is_written() {
        for (place, addresses) in [
            (Place::Public, &["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111"][..]),
            (Place::Public, &["::ffff:1.1.1.1", "64:ff9b::1.1.1.1", "2002:101:101::1"]),
            (Place::Loopback, &["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"]),
            (Place::Loopback, &["::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"]),
            (Place::Private, &["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"]),
            (Place::Private, &["100.64.0.1", "198.18.0.1", "203.0.113.9", "192.0.2.1"]),
            (Place::Private, &["fd12::1", "fc00::1", "::ffff:10.0.0.1", "2001:db8::1"]),
            (Place::Private, &["2001:0:1::1", "64:ff9b:1::1", "100::1"]),
            (Place::Never, &["169.254.169.254", "0.0.0.0", "224.0.0.1", "255.255.255.255"]),
            (Place::Never, &["::", "fe80::1", "ff02::1", "fec0::1", "::ffff:169.254.169.254"]),
            (Place::Never, &["64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::", "::169.254.169.254"]),
            (Place::Never, &["100.100.100.200", "192.0.0.192", "fd00:ec2::254"]),
        ] {
            for text in addresses {
                assert_eq!(super::place(text.parse().unwrap()), place, "{text}");
            }
        }
    }
}
