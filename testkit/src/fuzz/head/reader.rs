//! The decisive members of a message as serde_json finds them.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// A message.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Top {
    #[serde(deserialize_with = "present")]
    pub(super) id: Option<Value>,
    pub(super) method: Option<Member>,
    pub(super) params: Option<Member>,
    #[serde(deserialize_with = "present")]
    pub(super) result: Option<IgnoredAny>,
    #[serde(deserialize_with = "present")]
    pub(super) error: Option<IgnoredAny>,
}

/// A member's value, as far as it matters.
#[derive(Debug)]
pub(super) enum Member {
    Text(String),
    Object { name: Option<Box<Member>>, uri: Option<Box<Member>> },
    Other,
}

impl Top {
    /// The method, if it is a text.
    pub(super) fn method(&self) -> Option<&str> {
        self.method.as_ref().and_then(Member::text)
    }

    /// The tool, prompt or resource.
    pub(super) fn subject(&self) -> Option<&str> {
        let Some(Member::Object { name, uri }) = &self.params else { return None };
        let mut candidates = [name, uri].into_iter().flatten();
        candidates.find_map(|member| member.text())
    }
}

impl Member {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Object { .. } | Self::Other => None,
        }
    }
}

/// Whether this is one JSON object, of any depth, without a line break: what a reader of
/// lines gets to see whole. The carriage return of a CRLF belongs to the line's end.
pub(super) fn is_object_on_one_line(text: &str) -> bool {
    !text.strip_suffix('\r').unwrap_or(text).contains(['\r', '\n'])
        && text.trim_start_matches([' ', '\t']).starts_with('{')
        && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Reads a message that passed; `None` if it holds what serde_json cannot represent.
///
/// # Panics
/// If serde_json sees another fault in it.
pub(super) fn read(text: &str) -> Option<Top> {
    match serde_json::from_str(text) {
        Ok(top) => Some(top),
        Err(error) => {
            let reason = error.to_string();
            let limits = ["out of range", "surrogate", "hex escape", "recursion limit"];
            assert!(limits.iter().any(|limit| reason.contains(limit)), "it passed, yet: {reason}");
            None
        }
    }
}

/// `Some` for a member that is there, `null` included.
fn present<'de, T, D>(member: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    T::deserialize(member).map(Some)
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(member: D) -> Result<Self, D::Error> {
        member.deserialize_any(AnyMember)
    }
}

struct AnyMember;

impl<'de> Visitor<'de> for AnyMember {
    type Value = Member;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Member, E> {
        Ok(Member::Text(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Member, E> {
        Ok(Member::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Member, E> {
        Ok(Member::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Member, E> {
        Ok(Member::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Member, E> {
        Ok(Member::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Member, E> {
        Ok(Member::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Member, A::Error> {
        while sequence.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Member::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Member, A::Error> {
        let (mut name, mut uri) = (None, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "name" => name = Some(Box::new(map.next_value()?)),
                "uri" => uri = Some(Box::new(map.next_value()?)),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Member::Object { name, uri })
    }
}
