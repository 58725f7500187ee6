use std::borrow::Cow;

use sealwire_names::{Refusal, RefusalCode};

use super::RequestId;
use super::listing::{INPUT_REQUESTS, reads_as};
use super::scan::{MAX_DEPTH, Scanner, SyntaxError};
use super::tail::last_id;
use super::text::Text;

/// Members that decide what a message is (JSON-RPC 2.0 §4, §5).
const TOP_LEVEL: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];
const JSONRPC: usize = 0;
const ID: usize = 1;
const METHOD: usize = 2;
const PARAMS: usize = 3;
const RESULT: usize = 4;
const ERROR: usize = 5;

/// Longest id, as it stands in the message, in bytes: it is kept until the answer comes.
const MAX_ID: usize = 512;
/// Longest method, in bytes.
const MAX_METHOD: usize = 256;
/// Most of a member's name that is shown in a reason, in characters.
const SHOWN: usize = 40;

/// Members of `params` that decide what a request does (MCP).
const IN_PARAMS: [&str; 4] = ["name", "uri", "arguments", "_meta"];
const NAME: usize = 0;
const URI: usize = 1;
const ARGUMENTS: usize = 2;
const META: usize = 3;
/// What is completed with `completion/complete`, and nothing with any other method.
const REF: &str = "ref";
const COMPLETE: &str = "completion/complete";
/// Which page of a list is wanted: decides nothing but what counts as a whole listing.
const CURSOR: &str = "cursor";

/// Takes the name of the next member if it is one of [`TOP_LEVEL`], written as nearly everybody
/// writes it; which it is. What is not taken here may still be one of them.
#[inline(always)]
fn top_level(scanner: &mut Scanner<'_>) -> Option<usize> {
    match scanner.ahead(1) {
        b'j' => scanner.takes("\"jsonrpc\":").then_some(JSONRPC),
        b'i' => scanner.takes("\"id\":").then_some(ID),
        b'm' => scanner.takes("\"method\":").then_some(METHOD),
        b'p' => scanner.takes("\"params\":").then_some(PARAMS),
        b'r' => scanner.takes("\"result\":").then_some(RESULT),
        b'e' => scanner.takes("\"error\":").then_some(ERROR),
        _ => None,
    }
}

/// The same for [`IN_PARAMS`].
#[inline(always)]
fn in_params(scanner: &mut Scanner<'_>) -> Option<usize> {
    match scanner.ahead(1) {
        b'n' => scanner.takes("\"name\":").then_some(NAME),
        b'u' => scanner.takes("\"uri\":").then_some(URI),
        b'a' => scanner.takes("\"arguments\":").then_some(ARGUMENTS),
        b'_' => scanner.takes("\"_meta\":").then_some(META),
        _ => None,
    }
}

/// What a message is, as any reader would understand it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Head<'a> {
    /// A call that wants an answer.
    Request {
        /// Under which id.
        id: RequestId,
        /// The method, unescaped.
        method: Cow<'a, str>,
        /// What of its parameters matters here.
        params: Params<'a>,
    },
    /// A call that wants none.
    Notification {
        /// The method, unescaped.
        method: Cow<'a, str>,
        /// What of its parameters matters here.
        params: Params<'a>,
    },
    /// An answer.
    Response {
        /// The request it answers; `None` where that request's id could not be read.
        id: Option<RequestId>,
        /// Whether it carries `error` rather than `result`.
        is_error: bool,
        /// Whether the result asks the client for input, as some reader would understand it.
        asks: bool,
    },
}

/// What of a message's `params` a decision may depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params<'a> {
    /// The tool or prompt (`name`), or the resource (`uri`): whichever the method reads.
    pub subject: Option<Cow<'a, str>>,
    /// `requestId` of `notifications/cancelled`.
    pub cancelled: Option<RequestId>,
    /// Which page of a list is asked for.
    pub page: Asked<'a>,
    /// Where the subject is what `params.ref` names: the method by which that is used.
    pub completes: Option<&'static str>,
    /// `arguments`, as they stand in the message.
    pub arguments: Option<&'a str>,
}

/// Which page of a list a request asks for (MCP 2025-11-25, Pagination).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Asked<'a> {
    /// The first.
    #[default]
    First,
    /// The one that begins at this cursor.
    At(Cow<'a, str>),
    /// One that some readers would find, and others would not.
    Unclear,
}

/// A message that does not pass, and the id under which to say so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Why.
    pub refusal: Refusal,
    /// The id, where there is exactly one and it could be read.
    pub id: Option<RequestId>,
    /// Whether the message was meant as an answer rather than a call.
    pub is_response: bool,
}

/// Parses heads.
///
/// The only state is configuration, so one parser serves a whole conversation.
#[derive(Clone, Copy, Debug)]
pub struct Parser {
    /// Deepest nesting that passes.
    pub max_depth: usize,
}

impl Default for Parser {
    fn default() -> Self {
        Self { max_depth: MAX_DEPTH }
    }
}

impl Parser {
    /// Reads the head of `message`, which is one whole message without its line end.
    ///
    /// # Errors
    /// [`Rejected`] if the message is not UTF-8, not one JSON object (RFC 8259), not
    /// JSON-RPC 2.0, nested too deeply, or ambiguous in a member that decides.
    pub fn parse<'a>(&self, message: &'a [u8]) -> Result<Head<'a>, Box<Rejected>> {
        let mut draft = Draft::default();
        match self.read(message, &mut draft) {
            Ok(()) => draft.finish(),
            Err(refusal) => Err(draft.reject(refusal)),
        }
    }

    /// What there is to say about a message that is refused with only its first part at
    /// hand, and its last bytes: its id, and whether it is an answer, if that stands there.
    pub fn recover(&self, prefix: &[u8], suffix: &[u8], refusal: Refusal) -> Box<Rejected> {
        let end = prefix.utf8_chunks().next().map_or(0, |chunk| chunk.valid().len());
        // An integer may go on behind the cut, and be the id of another request.
        let digits = prefix[..end].iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let mut draft = Draft::default();
        // The text is cut off, so an error is certain; what was read before it counts.
        let _cut_off = self.read(&prefix[..end - digits], &mut draft);
        // Many write the id behind all else. Of what kind it is has to be known: the same id
        // may be that of a call in the other direction.
        if [METHOD, RESULT, ERROR].iter().any(|kind| draft.seen[*kind]) && !draft.seen[ID] {
            draft.id = last_id(suffix);
        }
        draft.reject(refusal)
    }

    fn read<'a>(&self, message: &'a [u8], draft: &mut Draft<'a>) -> Result<(), Refusal> {
        let text = simdutf8::basic::from_utf8(message).map_err(|_| {
            let valid = message.utf8_chunks().next().map_or(0, |chunk| chunk.valid().len());
            malformed(format!("invalid UTF-8 after {valid} bytes"))
        })?;
        let mut scanner = Scanner::new(text);
        if scanner.peek() == b'[' {
            let reason = "a JSON-RPC batch; send its messages one by one";
            return Err(Refusal::new(RefusalCode::MessageBatch, reason));
        }
        draft.read_top_level(&mut scanner).map_err(|error| {
            malformed(format!("not JSON: expected {} at byte {}", error.expected, error.offset))
        })?;
        if scanner.deepest() > self.max_depth {
            let reason =
                format!("nested {} deep, {} is the limit", scanner.deepest(), self.max_depth);
            return Err(Refusal::new(RefusalCode::MessageTooDeep, reason));
        }
        Ok(())
    }
}

/// The decisive members as they are met; judged once the whole text has been read, so
/// that even a refusal can be told under the right id.
#[derive(Default)]
struct Draft<'a> {
    seen: [bool; TOP_LEVEL.len()],
    is_version_2: bool,
    id: Option<&'a str>,
    method: Option<Text<'a>>,
    params: ParamsDraft<'a>,
    asks: bool,
    ambiguous: Option<String>,
}

/// A member that is there: `None` if it is not a string.
type Member<'a> = Option<Text<'a>>;

#[derive(Default)]
struct ParamsDraft<'a> {
    /// `params` is something else than an object or null.
    is_malformed: bool,
    name: Option<Member<'a>>,
    uri: Option<Member<'a>>,
    arguments: Option<&'a str>,
    cancelled: Option<&'a str>,
    page: Asked<'a>,
    reference: Reference<'a>,
}

/// `params.ref`.
#[derive(Clone, Copy, Default)]
enum Reference<'a> {
    #[default]
    Absent,
    Is(&'a str),
    /// It is there twice, or in another case.
    Unclear,
}

impl<'a> Draft<'a> {
    fn read_top_level(&mut self, scanner: &mut Scanner<'a>) -> Result<(), SyntaxError> {
        scanner.enter_object()?;
        let mut first = true;
        while scanner.next_member(first)? {
            first = false;
            let index = match top_level(scanner) {
                Some(index) => Some(index),
                None => self.note(&scanner.name()?, &TOP_LEVEL),
            };
            let Some(index) = index else {
                scanner.skip()?;
                continue;
            };
            let repeated = std::mem::replace(&mut self.seen[index], true);
            if repeated {
                self.ambiguous.get_or_insert_with(|| format!("{} occurs twice", TOP_LEVEL[index]));
            }
            match index {
                JSONRPC => {
                    scanner.peek();
                    self.is_version_2 = scanner.takes("\"2.0\"");
                    if !self.is_version_2 {
                        scanner.skip()?;
                    }
                }
                ID if repeated => {
                    scanner.skip()?;
                    self.id = None;
                }
                ID => self.id = Some(scanner.value()?),
                METHOD if scanner.peek() == b'"' => self.method = Some(scanner.string()?),
                PARAMS => self.read_params(scanner)?,
                RESULT if scanner.peek() == b'{' => self.read_result(scanner)?,
                _ => scanner.skip()?,
            }
        }
        scanner.end()
    }

    fn read_params(&mut self, scanner: &mut Scanner<'a>) -> Result<(), SyntaxError> {
        if scanner.peek() != b'{' {
            self.params.is_malformed = scanner.value()? != "null";
            return Ok(());
        }
        scanner.enter_object()?;
        let mut seen = [false; IN_PARAMS.len()];
        let mut first = true;
        while scanner.next_member(first)? {
            first = false;
            let index = match in_params(scanner) {
                Some(index) => index,
                None => {
                    let member = scanner.name()?;
                    let Some(index) = self.note(&member, &IN_PARAMS) else {
                        self.read_other_param(&member, scanner)?;
                        continue;
                    };
                    index
                }
            };
            let repeated = std::mem::replace(&mut seen[index], true);
            if repeated {
                self.ambiguous
                    .get_or_insert_with(|| format!("params.{} occurs twice", IN_PARAMS[index]));
            }
            let member = match index {
                NAME => &mut self.params.name,
                URI => &mut self.params.uri,
                ARGUMENTS => {
                    self.params.arguments = Some(scanner.value()?);
                    continue;
                }
                _ => {
                    scanner.skip()?;
                    continue;
                }
            };
            *member = if scanner.peek() == b'"' {
                Some(Some(scanner.string()?))
            } else {
                scanner.skip()?;
                Some(None)
            };
        }
        Ok(())
    }

    /// A member of `params` that decides nothing with most methods.
    fn read_other_param(
        &mut self,
        member: &Text<'a>,
        scanner: &mut Scanner<'a>,
    ) -> Result<(), SyntaxError> {
        if member.raw() == "requestId" {
            self.params.cancelled = Some(scanner.value()?);
        } else if member.is_escaped()
            || [CURSOR, REF].iter().any(|known| reads_as(member.raw(), known))
        {
            let (page, value) = (std::mem::take(&mut self.params.page), scanner.value()?);
            self.params.page = asked(member, value, page);
            self.params.reference = self.params.reference.and(member, value);
        } else {
            scanner.skip()?;
        }
        Ok(())
    }

    /// Of a result no more than whether it asks for input is looked at here.
    fn read_result(&mut self, scanner: &mut Scanner<'a>) -> Result<(), SyntaxError> {
        scanner.enter_object()?;
        let mut first = true;
        while let Some(member) = scanner.member(first)? {
            first = false;
            self.asks |= match member.is_escaped() {
                false => reads_as(member.raw(), INPUT_REQUESTS),
                // A lone surrogate folds to no ASCII letter.
                true => member.decode().is_some_and(|name| reads_as(&name, INPUT_REQUESTS)),
            };
            scanner.skip()?;
        }
        Ok(())
    }

    /// Which of `decisive` this member is, noting a spelling that only some readers
    /// would take for it.
    fn note(&mut self, member: &Text<'_>, decisive: &[&str]) -> Option<usize> {
        let (index, exact) = classify(member, decisive)?;
        if !exact {
            self.ambiguous.get_or_insert_with(|| {
                let shown: String = member.raw().chars().take(SHOWN).collect();
                format!("member {shown:?} differs from {} by case only", decisive[index])
            });
        }
        Some(index)
    }

    fn sole_id(&self) -> Option<RequestId> {
        self.id.filter(|id| id.len() <= MAX_ID).and_then(RequestId::parse)
    }

    fn reject(&self, refusal: Refusal) -> Box<Rejected> {
        let is_response = !self.seen[METHOD] && (self.seen[RESULT] || self.seen[ERROR]);
        Box::new(Rejected { refusal, id: self.sole_id(), is_response })
    }

    fn finish(self) -> Result<Head<'a>, Box<Rejected>> {
        if let Some(reason) = &self.ambiguous {
            let refusal = Refusal::new(RefusalCode::MemberAmbiguous, reason.as_str());
            return Err(self.reject(refusal));
        }
        self.judge().map_err(|reason| {
            self.reject(Refusal::new(
                RefusalCode::MessageInvalid,
                format!("not JSON-RPC: {reason}"),
            ))
        })
    }

    fn judge(&self) -> Result<Head<'a>, &'static str> {
        if !self.is_version_2 {
            return Err("jsonrpc is not \"2.0\"");
        }
        let id = match self.id {
            None | Some("null") => None,
            Some(json) if json.len() > MAX_ID => return Err("id is longer than 512 bytes"),
            Some(json) => {
                Some(RequestId::parse(json).ok_or("id is neither a string nor an integer")?)
            }
        };
        let is_error = self.seen[ERROR];
        if !self.seen[METHOD] {
            if self.seen[RESULT] == is_error {
                return Err("it needs method, or one of result and error");
            }
            if !self.seen[ID] || (id.is_none() && !is_error) {
                return Err("a result needs an id");
            }
            return Ok(Head::Response { id, is_error, asks: self.asks });
        }
        if is_error || self.seen[RESULT] {
            return Err("it has both method and result or error");
        }
        let method = self.method.ok_or("method is not a string")?;
        let method = method.decode().ok_or("method holds a lone surrogate")?;
        if method.len() > MAX_METHOD {
            return Err("method is longer than 256 bytes");
        }
        let params = self.params.judge(&method)?;
        match id {
            Some(id) => Ok(Head::Request { id, method, params }),
            None if self.seen[ID] => Err("a request's id must not be null"),
            None => Ok(Head::Notification { method, params }),
        }
    }
}

impl<'a> ParamsDraft<'a> {
    /// The subject is what a server of this method reads. Were it any other member, a
    /// decision could be about one thing and the server's work about another.
    fn judge(&self, method: &str) -> Result<Params<'a>, &'static str> {
        if self.is_malformed {
            return Err("params is not an object");
        }
        if method == COMPLETE {
            let (completes, subject) = self.reference.read()?;
            let (cancelled, page) = (None, Asked::First);
            let completes = Some(completes);
            let (subject, arguments) = (Some(subject), self.arguments);
            return Ok(Params { subject, cancelled, page, completes, arguments });
        }
        let member = match method {
            "tools/call" | "prompts/get" => self.name,
            _ if method.starts_with("resources/") => self.uri,
            _ => self.name.flatten().or(self.uri.flatten()).map(Some),
        };
        let subject = match member {
            Some(Some(text)) => Some(text.decode().ok_or("name or uri holds a lone surrogate")?),
            Some(None) => return Err("name or uri is not a string"),
            None => None,
        };
        let cancelled = self.cancelled.and_then(RequestId::parse);
        let (page, arguments) = (self.page.clone(), self.arguments);
        Ok(Params { subject, cancelled, page, completes: None, arguments })
    }
}

impl<'a> Reference<'a> {
    /// What is known once `member` of `params` has been read, too.
    fn and(self, member: &Text<'_>, value: &'a str) -> Self {
        match (member.decode(), self) {
            (Some(name), Self::Absent) if name == REF => Self::Is(value),
            (Some(name), _) if reads_as(&name, REF) => Self::Unclear,
            _ => self,
        }
    }

    /// The method by which what it names is used, and its name (MCP 2025-11-25, Completion).
    /// It has one reading, or none: a decision must not be about a prompt while the server
    /// completes a resource.
    fn read(self) -> Result<(&'static str, Cow<'a, str>), &'static str> {
        const AMBIGUOUS: &str = "params.ref does not have one meaning";
        let value = match self {
            Self::Is(value) if value.starts_with('{') => value,
            Self::Unclear => return Err(AMBIGUOUS),
            _ => return Err("params.ref is not an object"),
        };
        let mut scanner = Scanner::new(value);
        let mut found = [const { None }; 3];
        let syntax = |_| AMBIGUOUS;
        scanner.enter_object().map_err(syntax)?;
        let mut first = true;
        while let Some(member) = scanner.member(first).map_err(syntax)? {
            first = false;
            let Some((index, exact)) = classify(&member, &["type", "name", "uri"]) else {
                scanner.value().map_err(syntax)?;
                continue;
            };
            let text = scanner.string().ok().and_then(|text| text.decode());
            let text = text.ok_or("a member of params.ref is not a string")?;
            if !exact || found[index].replace(text).is_some() {
                return Err(AMBIGUOUS);
            }
        }
        match found {
            [Some(kind), Some(name), None] if kind == "ref/prompt" => Ok(("prompts/get", name)),
            [Some(kind), None, Some(uri)] if kind == "ref/resource" => Ok(("resources/read", uri)),
            _ => Err("params.ref names neither a prompt nor a resource"),
        }
    }
}

/// Which page is asked for once `member` of `params` has been read, too.
fn asked<'a>(member: &Text<'_>, value: &'a str, before: Asked<'a>) -> Asked<'a> {
    let name = member.decode();
    if !name.as_ref().is_some_and(|name| reads_as(name, CURSOR)) {
        return before;
    }
    if before != Asked::First || name.is_none_or(|name| name != CURSOR) {
        return Asked::Unclear;
    }
    if value == "null" {
        return Asked::First;
    }
    let mut scanner = Scanner::new(value);
    match scanner.string().ok().and_then(|text| text.decode()) {
        Some(cursor) => Asked::At(cursor),
        None => Asked::Unclear,
    }
}

fn malformed(reason: String) -> Refusal {
    Refusal::new(RefusalCode::MessageMalformed, reason)
}

/// Which of `names` a reader that ignores case would take `member` for, and whether
/// it is spelled exactly so.
fn classify(member: &Text<'_>, names: &[&str]) -> Option<(usize, bool)> {
    let raw = member.raw();
    if !member.is_escaped() {
        if let Some(index) = names.iter().position(|name| *name == raw) {
            return Some((index, true));
        }
        if raw.is_ascii() {
            let index = names.iter().position(|name| raw.eq_ignore_ascii_case(name))?;
            return Some((index, false));
        }
    }
    // A lone surrogate folds to no ASCII letter, so such a member decides nothing.
    let decoded = member.decode()?;
    let folded: String = decoded.chars().map(fold).collect();
    let index = names.iter().position(|name| folded == *name)?;
    Some((index, decoded == names[index]))
}

/// Simple case folding onto ASCII. Besides the capitals, two other characters fold to
/// ASCII letters (Unicode CaseFolding.txt): U+017F to `s` and U+212A to `k`.
pub(super) fn fold(character: char) -> char {
    match character {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    }
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
