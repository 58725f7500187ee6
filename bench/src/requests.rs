//! Calls that are ready to be written: all alike but for their ids.

/// Digits of an id. All have as many, so that an id can be replaced in place.
const ID_DIGITS: usize = 10;

/// As many copies of one `tools/call` as are in flight together. Writing the next
/// calls costs ten digits each, and no allocation.
#[derive(Clone, Debug)]
pub struct Requests {
    bytes: Vec<u8>,
    length: usize,
    id_at: usize,
}

impl Requests {
    /// The id to begin with: the first of ten digits.
    pub const FIRST_ID: u64 = 1_000_000_000;

    /// Calls of about 200 bytes that are answered with about as many; at most
    /// `in_flight` at a time.
    pub fn small(in_flight: usize) -> Self {
        let text = "The quick brown fox jumps over the lazy dog, again and again, for the sake of some length.";
        Self::new("echo", &format!(r#"{{"text":"{text}"}}"#), in_flight)
    }

    /// Calls that are answered with a text of `bytes` bytes.
    pub fn large(bytes: usize, in_flight: usize) -> Self {
        Self::new("big", &format!(r#"{{"bytes":{bytes}}}"#), in_flight)
    }

    fn new(tool: &str, arguments: &str, in_flight: usize) -> Self {
        let head = r#"{"jsonrpc":"2.0","id":"#;
        let tail = format!(
            r#","method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}"#
        );
        let call = format!("{head}{}{tail}\n", Self::FIRST_ID);
        Self { bytes: call.repeat(in_flight).into(), length: call.len(), id_at: head.len() }
    }

    /// The next `count` calls, with ids from `next_id` on, which moves by `count`.
    ///
    /// # Panics
    /// If `count` is more than are in flight.
    pub fn next(&mut self, count: usize, next_id: &mut u64) -> &[u8] {
        let calls = &mut self.bytes[..count * self.length];
        for call in calls.chunks_exact_mut(self.length) {
            let mut rest = *next_id;
            for digit in call[self.id_at..self.id_at + ID_DIGITS].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
            *next_id += 1;
        }
        calls
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn each_call_has_the_next_id() {
        let mut requests = Requests::large(5, 3);
        let mut next_id = 1_999_999_999;
        requests.next(1, &mut next_id);
        let text = String::from_utf8(requests.next(2, &mut next_id).to_vec()).unwrap();
        let calls: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(next_id, 2_000_000_002);
        assert_eq!(
            (&calls[0]["id"], &calls[1]["id"]),
            (&2_000_000_000_u64.into(), &2_000_000_001_u64.into())
        );
        assert_eq!(calls[1]["params"], json!({"name": "big", "arguments": {"bytes": 5}}));
    }

    #[test]
    fn small_calls_have_about_200_bytes() {
        let mut next_id = Requests::FIRST_ID;
        let length = Requests::small(1).next(1, &mut next_id).len();
        assert!((190..=210).contains(&length), "{length}");
    }
}
