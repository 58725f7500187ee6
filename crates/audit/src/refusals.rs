//! Refusals of connections that nobody has authenticated: anybody can cause as many as he likes,
//! so they are counted, and told together.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use sealwire_names::{RefusalCode, Timestamp};

use crate::entry::Body;

/// Most addresses that are told by name.
const MAX_ADDRESSES: usize = 8;

/// Those since they were last told.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    since: Option<Timestamp>,
    counts: BTreeMap<&'static str, u64>,
    addresses: Vec<IpAddr>,
}

impl Refusals {
    pub(crate) fn count(&mut self, code: RefusalCode, from: Option<SocketAddr>, now: Timestamp) {
        self.since.get_or_insert(now);
        *self.counts.entry(code.as_str()).or_default() += 1;
        if let Some(address) = from.map(|from| from.ip())
            && self.addresses.len() < MAX_ADDRESSES
            && !self.addresses.contains(&address)
        {
            self.addresses.push(address);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.since.is_none()
    }

    /// Writes what an entry says of them.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let mut body = Body::new(out, "refusals");
        if let Some(since) = self.since {
            body.time("since", since);
        }
        body.counts("counts", self.counts.iter().map(|(code, count)| (*code, *count)));
        body.list("addresses", &self.addresses).end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_short_entry() {
        let mut refusals = Refusals::default();
        assert!(refusals.is_empty());
        for n in 0..5_000_u32 {
            let from = SocketAddr::from((n.to_be_bytes(), 1));
            let code =
                if n % 5 == 0 { RefusalCode::LinkProtocol } else { RefusalCode::NotAuthorized };
            refusals.count(code, Some(from), Timestamp::from_unix_millis(n.into()));
        }
        let mut out = Vec::new();
        refusals.write(&mut out);
        assert_eq!(crate::text::parse_body(&out), Ok("refusals"));
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with(r#""type":"refusals","since":0,"counts":{"#), "{text}");
        assert!(text.contains(r#""not_authorized":4000"#) && text.contains(":1000"), "{text}");
        assert!(text.ends_with(r#""0.0.0.6","0.0.0.7"]}"#), "{text}");
    }
}
