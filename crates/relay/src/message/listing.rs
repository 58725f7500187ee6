//! Results of which policy lets only a part reach the client: lists of what a server has,
//! and requests for input.
//!
//! They are read strictly and in full. In a list, a member that occurs twice, at any depth,
//! could show one tool to us and another to the client; so such a result is refused.

use std::borrow::Cow;
use std::ops::Range;

use sealwire_guard::{Definition, PinKind};
use sealwire_names::{Refusal, RefusalCode};

use super::canonical::{canonical, hash};
use super::scan::{Scanner, SyntaxError};
use super::text::Text;

/// Most of a member's name that is shown in a reason, in characters.
const SHOWN: usize = 40;
/// Who may keep a result for later: everybody, or the client that asked (MCP 2026-07-28,
/// Caching).
const CACHE_SCOPE: &str = "cacheScope";
const PRIVATE: &str = "\"private\"";
/// Where the next page begins (MCP 2025-11-25, Pagination).
const NEXT_CURSOR: &str = "nextCursor";
/// What a server says about itself and its use, for the model.
const INSTRUCTIONS: &str = "instructions";
/// What a server wants of the client before it goes on (MCP 2026-07-28, Multi-round-trip
/// requests).
pub(crate) const INPUT_REQUESTS: &str = "inputRequests";

/// A list as MCP has it: where it stands in the result, and what its items are known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListKind {
    member: &'static str,
    key: &'static str,
    /// The method that is called, or read, with an item.
    pub(crate) method: &'static str,
    /// As what its items are pinned. Resources are data, which changes.
    pub(crate) pinned: Option<PinKind>,
}

impl ListKind {
    /// What a method lists, if it lists anything.
    #[inline]
    pub(crate) fn of(method: &str) -> Option<Self> {
        let (member, key, method, pinned) = match method.strip_suffix("/list")? {
            "tools" => ("tools", "name", "tools/call", Some(PinKind::Tool)),
            "prompts" => ("prompts", "name", "prompts/get", Some(PinKind::Prompt)),
            "resources" => ("resources", "uri", "resources/read", None),
            "resources/templates" => {
                let pinned = Some(PinKind::ResourceTemplate);
                ("resourceTemplates", "uriTemplate", "resources/read", pinned)
            }
            _ => return None,
        };
        Some(Self { member, key, method, pinned })
    }
}

/// One result, read strictly.
#[derive(Debug, Default)]
pub(crate) struct Listing<'a> {
    items: Vec<Item<'a>>,
    /// The value of `cacheScope`, if others than the client that asked could have it.
    shared: Option<Range<usize>>,
    /// The methods of `inputRequests`.
    pub(crate) asks: Vec<Cow<'a, str>>,
    /// `nextCursor`, if there is another page.
    pub(crate) next: Option<Cow<'a, str>>,
    /// The value of `instructions`, if it is a string.
    instructions: Option<Range<usize>>,
}

#[derive(Debug)]
struct Item<'a> {
    name: Cow<'a, str>,
    range: Range<usize>,
}

impl<'a> Listing<'a> {
    /// Reads a response that carries a result, of which the head has been parsed before.
    ///
    /// # Errors
    /// If it is not of the form that MCP gives it, or ambiguous at any depth.
    pub(crate) fn parse(message: &'a [u8], kind: Option<ListKind>) -> Result<Self, Refusal> {
        Self::read(message, kind, false)
    }

    /// Reads a response to `initialize` or `server/discover` in the same way.
    ///
    /// # Errors
    /// As of [`Self::parse`].
    pub(crate) fn parse_opening(message: &'a [u8]) -> Result<Self, Refusal> {
        Self::read(message, None, true)
    }

    fn read(message: &'a [u8], kind: Option<ListKind>, opens: bool) -> Result<Self, Refusal> {
        let text = std::str::from_utf8(message).map_err(|_| invalid("it is not UTF-8"))?;
        let mut reader = Reader { scanner: Scanner::new(text), listing: Self::default(), opens };
        reader.message(kind)?;
        Ok(reader.listing)
    }

    /// The message with those items alone that `keep` picks, and for nobody else to keep;
    /// `None` if that is what it is already.
    pub(crate) fn splice(
        &self,
        message: &[u8],
        mut keep: impl FnMut(&str) -> bool,
    ) -> Option<Vec<u8>> {
        let kept: Vec<bool> = self.items.iter().map(|item| keep(&item.name)).collect();
        let mut edits = Vec::new();
        if let (Some(first), Some(last)) = (self.items.first(), self.items.last())
            && kept.contains(&false)
        {
            let kept = self.items.iter().zip(&kept).filter(|(_, kept)| **kept);
            let kept: Vec<_> = kept.map(|(item, _)| &message[item.range.clone()]).collect();
            edits.push((first.range.start..last.range.end, kept.join(&b","[..])));
        }
        edits.extend(self.shared.clone().map(|scope| (scope, PRIVATE.as_bytes().to_vec())));
        if edits.is_empty() {
            return None;
        }
        edits.sort_by_key(|(range, _)| range.start);
        let mut spliced = Vec::with_capacity(message.len() + PRIVATE.len());
        let mut at = 0;
        for (range, new) in edits {
            spliced.extend_from_slice(&message[at..range.start]);
            spliced.extend_from_slice(&new);
            at = range.end;
        }
        spliced.extend_from_slice(&message[at..]);
        Some(spliced)
    }

    /// The items as definitions, in their order.
    ///
    /// # Errors
    /// If one of them does not have one meaning.
    pub(crate) fn definitions(&self, message: &'a [u8]) -> Result<Vec<Definition<'a>>, Refusal> {
        let items = self.items.iter();
        items.map(|item| definition(item.name.clone(), message, &item.range)).collect()
    }

    /// The server's instructions as a definition.
    ///
    /// # Errors
    /// If they hold a lone surrogate.
    pub(crate) fn instructions(
        &self,
        message: &'a [u8],
    ) -> Result<Option<Definition<'a>>, Refusal> {
        let range = self.instructions.as_ref();
        range.map(|range| definition("".into(), message, range)).transpose()
    }

    /// The message with empty instructions.
    pub(crate) fn without_instructions(&self, message: &[u8]) -> Option<Vec<u8>> {
        let range = self.instructions.clone()?;
        Some([&message[..range.start], b"\"\"", &message[range.end..]].concat())
    }

    /// How many items there are.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }
}

fn definition<'a>(
    name: Cow<'a, str>,
    message: &'a [u8],
    range: &Range<usize>,
) -> Result<Definition<'a>, Refusal> {
    let text = std::str::from_utf8(&message[range.clone()]);
    let text = canonical(text.map_err(|_| invalid("it is not UTF-8"))?)?;
    Ok(Definition { name, hash: hash(&text), text })
}

struct Reader<'a> {
    scanner: Scanner<'a>,
    listing: Listing<'a>,
    /// It is a result in which `instructions` are the server's.
    opens: bool,
}

/// Names of one object's members, to find one that occurs twice.
#[derive(Default)]
struct Members<'a>(Vec<Cow<'a, str>>);

impl<'a> Members<'a> {
    fn add(&mut self, member: &Text<'a>) -> Result<Cow<'a, str>, Refusal> {
        let name = member.decode().ok_or_else(|| invalid("a member holds a lone surrogate"))?;
        self.0.push(name.clone());
        Ok(name)
    }

    /// Once for each object, so that large ones cost no more than sorting.
    fn check(mut self) -> Result<(), Refusal> {
        self.0.sort_unstable();
        match self.0.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(ambiguous(&pair[0], "occurs twice")),
            None => Ok(()),
        }
    }
}

impl<'a> Reader<'a> {
    fn message(&mut self, kind: Option<ListKind>) -> Result<(), Refusal> {
        self.scanner.enter_object().map_err(syntax)?;
        let mut first = true;
        while let Some(member) = self.scanner.member(first).map_err(syntax)? {
            first = false;
            // What is decisive at the top has been found to be there once, and spelled so.
            if member.decode().is_some_and(|name| name == "result") {
                self.result(kind)?;
            } else {
                self.scanner.skip().map_err(syntax)?;
            }
        }
        Ok(())
    }

    fn result(&mut self, kind: Option<ListKind>) -> Result<(), Refusal> {
        if self.scanner.peek() != b'{' {
            return Err(invalid("the result is not an object"));
        }
        self.scanner.enter_object().map_err(syntax)?;
        let mut members = Members::default();
        let mut first = true;
        while let Some(member) = self.scanner.member(first).map_err(syntax)? {
            first = false;
            let name = members.add(&member)?;
            match kind {
                Some(kind) if is(&name, kind.member)? => self.items(kind)?,
                Some(_) if is(&name, CACHE_SCOPE)? => self.scope()?,
                Some(_) if is(&name, NEXT_CURSOR)? => self.next_cursor()?,
                None if self.opens && is(&name, INSTRUCTIONS)? => self.instructions()?,
                _ if is(&name, INPUT_REQUESTS)? => self.input_requests()?,
                // Of other results than lists, no more is judged than what is asked for.
                None => self.scanner.skip().map_err(syntax)?,
                Some(_) => self.value()?,
            }
        }
        members.check()
    }

    fn items(&mut self, kind: ListKind) -> Result<(), Refusal> {
        if self.scanner.peek() != b'[' {
            return Err(invalid("the list is not an array"));
        }
        self.scanner.enter_array().map_err(syntax)?;
        let mut first = true;
        while self.scanner.element(first).map_err(syntax)? {
            first = false;
            if self.scanner.peek() != b'{' {
                return Err(invalid("an item of the list is not an object"));
            }
            let start = self.scanner.position();
            let name = self.string_of(kind.key)?;
            self.listing.items.push(Item { name, range: start..self.scanner.position() });
        }
        Ok(())
    }

    fn scope(&mut self) -> Result<(), Refusal> {
        self.scanner.peek();
        let start = self.scanner.position();
        let text = self.scanner.string().map_err(|_| invalid("cacheScope is not a string"))?;
        if text.decode().is_none_or(|scope| scope != PRIVATE.trim_matches('"')) {
            self.listing.shared = Some(start..self.scanner.position());
        }
        Ok(())
    }

    fn next_cursor(&mut self) -> Result<(), Refusal> {
        if self.scanner.peek() == b'n' {
            return self.value();
        }
        let text = self.scanner.string().map_err(|_| invalid("nextCursor is not a string"))?;
        let cursor = text.decode().ok_or_else(|| invalid("nextCursor holds a lone surrogate"))?;
        self.listing.next = Some(cursor);
        Ok(())
    }

    fn instructions(&mut self) -> Result<(), Refusal> {
        if self.scanner.peek() == b'n' {
            return self.value();
        }
        let start = self.scanner.position();
        self.scanner.string().map_err(|_| invalid("instructions are not a string"))?;
        self.listing.instructions = Some(start..self.scanner.position());
        Ok(())
    }

    fn input_requests(&mut self) -> Result<(), Refusal> {
        if self.scanner.peek() != b'{' {
            return Err(invalid("inputRequests is not an object"));
        }
        self.scanner.enter_object().map_err(syntax)?;
        let mut members = Members::default();
        let mut first = true;
        while let Some(member) = self.scanner.member(first).map_err(syntax)? {
            first = false;
            members.add(&member)?;
            if self.scanner.peek() != b'{' {
                return Err(invalid("a request for input is not an object"));
            }
            let method = self.string_of("method")?;
            self.listing.asks.push(method);
        }
        members.check()
    }

    /// Reads an object, and gives the string that it must have under `key`.
    fn string_of(&mut self, key: &'static str) -> Result<Cow<'a, str>, Refusal> {
        self.scanner.enter_object().map_err(syntax)?;
        let mut members = Members::default();
        let mut found = None;
        let mut first = true;
        while let Some(member) = self.scanner.member(first).map_err(syntax)? {
            first = false;
            let name = members.add(&member)?;
            if is(&name, key)? && self.scanner.peek() == b'"' {
                let text = self.scanner.string().map_err(syntax)?;
                found = text.decode();
            } else {
                self.value()?;
            }
        }
        members.check()?;
        found.ok_or_else(|| invalid("an item has no name that can be read"))
    }

    /// Any value, of which no object has a member twice. The nesting is bounded by what has
    /// passed [`super::MAX_DEPTH`].
    fn value(&mut self) -> Result<(), Refusal> {
        match self.scanner.peek() {
            b'{' => {
                self.scanner.enter_object().map_err(syntax)?;
                let mut members = Members::default();
                let mut first = true;
                while let Some(member) = self.scanner.member(first).map_err(syntax)? {
                    first = false;
                    members.add(&member)?;
                    self.value()?;
                }
                members.check()
            }
            b'[' => {
                self.scanner.enter_array().map_err(syntax)?;
                let mut first = true;
                while self.scanner.element(first).map_err(syntax)? {
                    first = false;
                    self.value()?;
                }
                Ok(())
            }
            _ => self.scanner.skip().map_err(syntax),
        }
    }
}

/// Whether a member is this one; refused if only a reader that ignores case would say so.
fn is(name: &str, known: &'static str) -> Result<bool, Refusal> {
    if name == known {
        return Ok(true);
    }
    if reads_as(name, known) {
        return Err(ambiguous(name, "differs by case only from a member that decides"));
    }
    Ok(false)
}

/// Whether a reader that ignores case would take `name` for `known`, which is ASCII.
pub(super) fn reads_as(name: &str, known: &str) -> bool {
    // No character folds to more letters, or longer ones.
    if name.len() < known.len() {
        return false;
    }
    if name.is_ascii() {
        return name.eq_ignore_ascii_case(known);
    }
    let folded = name.chars().map(super::head::fold);
    folded.eq(known.chars().map(|c| c.to_ascii_lowercase()))
}

pub(super) fn syntax(error: SyntaxError) -> Refusal {
    let reason = format!("not JSON: expected {} at byte {}", error.expected, error.offset);
    Refusal::new(RefusalCode::MessageMalformed, reason)
}

pub(super) fn invalid(reason: &str) -> Refusal {
    Refusal::new(RefusalCode::MessageInvalid, format!("not a result of MCP: {reason}"))
}

pub(super) fn ambiguous(member: &str, what: &str) -> Refusal {
    let shown: String = member.chars().take(SHOWN).collect();
    Refusal::new(RefusalCode::MemberAmbiguous, format!("in a result, member {shown:?} {what}"))
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
