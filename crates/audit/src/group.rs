//! Calls that share an entry.

use crate::call::CallBody;
use crate::entry::push_number;

/// Beyond so many bytes, further calls are another entry: half of what a line may be.
const LARGEST: usize = crate::MAX_LINE / 2;

/// Most calls of an entry.
const MOST: u64 = 4_096;

/// What may be each call's own.
const COLUMNS: [&str; 5] =
    ["jsonrpc.request.id", "arguments", "decision_entry", "decision_call", "duration_us"];

/// Calls that differ in nothing but what is each call's own: one entry, in which that is a list for
/// each member, with a value for each call.
#[derive(Debug, Default)]
pub(crate) struct Group {
    shared: Vec<u8>,
    /// Which of the columns there are.
    which: [bool; COLUMNS.len()],
    columns: [Vec<u8>; COLUMNS.len()],
    count: u64,
    is_cut: bool,
}

impl Group {
    /// Whether that call can be one of these.
    pub(crate) fn takes(&self, body: &CallBody<'_>) -> bool {
        let [begin, end] = body.shared;
        self.which == which(body)
            && self.shared.len() == begin.len() + end.len()
            && self.shared.starts_with(begin)
            && self.shared.ends_with(end)
            && self.len() < LARGEST
            && self.count < MOST
    }

    /// Adds a call, the first one or one that it takes; how many there were before.
    pub(crate) fn add(&mut self, body: &CallBody<'_>) -> u64 {
        let [begin, end] = body.shared;
        if self.count == 0 {
            self.shared.extend_from_slice(begin);
            self.shared.extend_from_slice(end);
            self.which = which(body);
        } else {
            for (column, _) in
                self.columns.iter_mut().zip(self.which).filter(|(_, is_there)| *is_there)
            {
                column.push(b',');
            }
        }
        let [ids, arguments, entries, calls, durations] = &mut self.columns;
        let own = body.own;
        ids.extend_from_slice(own.id.unwrap_or_default());
        arguments.extend_from_slice(own.arguments.map_or(&[], |arguments| &arguments[..]));
        if let Some((entry, call)) = own.decision {
            push_number(entries, entry);
            push_number(calls, call);
        }
        if let Some(micros) = own.duration_us {
            push_number(durations, micros);
        }
        self.is_cut |= body.is_cut;
        self.count += 1;
        self.count - 1
    }

    /// The bytes of its line, about.
    fn len(&self) -> usize {
        self.shared.len() + self.columns.iter().map(Vec::len).sum::<usize>()
    }

    /// Writes what follows the time in its line, and is empty again. Of one call, the values stand
    /// there themselves.
    pub(crate) fn end(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.shared);
        let (open, close): (&[u8], &[u8]) = if self.count > 1 { (b"[", b"]") } else { (b"", b"") };
        if self.count > 1 {
            out.extend_from_slice(b",\"calls\":");
            push_number(out, self.count);
        }
        let columns = COLUMNS.iter().zip(&mut self.columns).zip(self.which);
        for ((name, column), _) in columns.filter(|(_, is_there)| *is_there) {
            for part in [b",\"", name.as_bytes(), b"\":", open, column, close] {
                out.extend_from_slice(part);
            }
            column.clear();
        }
        out.extend_from_slice(if self.is_cut { b",\"cut\":true}" } else { b"}" });
        (self.count, self.is_cut) = (0, false);
    }
}

/// Which of the columns that call has a value in.
fn which(CallBody { own, .. }: &CallBody<'_>) -> [bool; COLUMNS.len()] {
    let is_decided = own.decision.is_some();
    [own.id.is_some(), own.arguments.is_some(), is_decided, is_decided, own.duration_us.is_some()]
}
