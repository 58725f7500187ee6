//! A TOML document read by table and key, so that each complaint can name both and the
//! line. serde's derived errors name neither the table nor the nearest key.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Problem, Problems};
use super::schema::{self, Table};

/// The text of one configuration file.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) file: PathBuf,
    pub(crate) text: String,
}

/// Where a value was written.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    file: PathBuf,
    line: usize,
    key: String,
}

impl Place {
    /// A complaint about what is written here.
    pub(crate) fn problem(&self, what: impl Into<String>, remedy: impl Into<String>) -> Problem {
        Problem {
            file: self.file.clone(),
            line: Some(self.line),
            key: self.key.clone(),
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    pub(crate) fn line(&self) -> usize {
        self.line
    }
}

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) at: Place,
}

/// One table of a document, its unknown keys already complained about.
#[derive(Clone, Debug)]
pub(crate) struct Section<'a> {
    source: &'a Source,
    /// As messages show it, e.g. `[mcp_servers.github]`.
    title: String,
    table: &'a DeTable<'a>,
}

impl<'a> Section<'a> {
    /// Opens a table and complains about each key that `schema` does not list.
    pub(crate) fn open(
        source: &'a Source,
        title: String,
        table: &'a DeTable<'a>,
        schema: &Table,
        problems: &mut Problems,
    ) -> Self {
        let section = Self { source, title, table };
        for key in table.keys() {
            let name: &str = key.get_ref();
            if !schema.keys.contains(&name) && !schema.tables.contains(&name) {
                let at = section.place(name, key.span().start);
                problems.push(at.problem("unknown key", schema::suggest(schema, name)));
            }
        }
        section
    }

    /// The table under `key`, if there is one.
    pub(crate) fn section(
        &self,
        key: &str,
        schema: &Table,
        problems: &mut Problems,
    ) -> Option<Section<'a>> {
        let (at, value) = self.find(key)?;
        match value.get_ref() {
            DeValue::Table(table) => {
                Some(Self::open(self.source, self.path_to(key), table, schema, problems))
            }
            other => {
                problems.push(wrong_type(&at, "a table", other));
                None
            }
        }
    }

    /// The tables under `key`, which all have the same schema, each with its name.
    pub(crate) fn named_sections(
        &self,
        key: &str,
        schema: &Table,
        problems: &mut Problems,
    ) -> Vec<(Located<String>, Section<'a>)> {
        let Some(parent) = self.named(key, problems) else { return Vec::new() };
        parent.sections_but(&schema::NAMES, schema, problems)
    }

    /// The table under `key`, in which names that the user chooses stand for tables.
    pub(crate) fn named(&self, key: &str, problems: &mut Problems) -> Option<Section<'a>> {
        let (at, value) = self.find(key)?;
        let DeValue::Table(table) = value.get_ref() else {
            problems.push(wrong_type(&at, "a table of tables", value.get_ref()));
            return None;
        };
        Some(Section { source: self.source, title: self.path_to(key), table })
    }

    /// The tables in this one, which all have the same schema, each with its name. The keys
    /// of `own` are not among them.
    pub(crate) fn sections_but(
        &self,
        own: &Table,
        schema: &Table,
        problems: &mut Problems,
    ) -> Vec<(Located<String>, Section<'a>)> {
        let mut found = Vec::new();
        for (name, value) in self.table {
            let text = name.get_ref().to_string();
            if own.keys.contains(&&*text) {
                continue;
            }
            if !own.keys.is_empty() && !value.get_ref().is_table() {
                let at = self.place(&text, name.span().start);
                problems.push(at.problem("unknown key", schema::suggest(own, &text)));
                continue;
            }
            if let Some(section) = self.section(&text, schema, problems) {
                let at = Place {
                    file: self.source.file.clone(),
                    line: self.line(name.span().start),
                    key: section.title.clone(),
                };
                found.push((Located { value: text, at }, section));
            }
        }
        found
    }

    /// The table under `key` that belongs to this one, so that complaints are of this one.
    pub(crate) fn part(
        &self,
        key: &str,
        schema: &Table,
        problems: &mut Problems,
    ) -> Option<Section<'a>> {
        let (at, value) = self.find(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(Self::open(self.source, at.key, table, schema, problems)),
            other => {
                problems.push(wrong_type(&at, "a table", other));
                None
            }
        }
    }

    /// The tables under `key`, each with its name, so that complaints are of this one.
    pub(crate) fn named_parts(
        &self,
        key: &str,
        schema: &Table,
        problems: &mut Problems,
    ) -> Vec<(Located<String>, Section<'a>)> {
        let Some((at, value)) = self.find(key) else { return Vec::new() };
        let DeValue::Table(table) = value.get_ref() else {
            problems.push(wrong_type(&at, "a table of tables", value.get_ref()));
            return Vec::new();
        };
        let parent = Section { source: self.source, title: at.key, table };
        let names = table.keys().map(|name| name.get_ref().to_string());
        let part = |name: String, problems: &mut Problems| {
            let (at, _) = parent.find(&name)?;
            let section = parent.part(&name, schema, problems)?;
            Some((Located { value: name, at }, section))
        };
        names.filter_map(|name| part(name, problems)).collect()
    }

    /// The tables of a list, `[[…]]`, which all have the same schema, each with its place.
    pub(crate) fn list_of_sections(
        &self,
        key: &str,
        schema: &Table,
        problems: &mut Problems,
    ) -> Vec<(Place, Section<'a>)> {
        let Some((at, value)) = self.find(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            problems.push(wrong_type(&at, "a list of tables", value.get_ref()));
            return Vec::new();
        };
        let mut found = Vec::new();
        for item in items {
            let at = Place { line: self.line(item.span().start), ..at.clone() };
            match item.get_ref() {
                DeValue::Table(table) => {
                    let title = at.key.clone();
                    found.push((at, Self::open(self.source, title, table, schema, problems)));
                }
                other => problems.push(wrong_type(&at, "a list of tables", other)),
            }
        }
        found
    }

    /// A table of whole numbers in `range`, in the order of its keys.
    pub(crate) fn integers(
        &self,
        key: &str,
        range: RangeInclusive<u64>,
        problems: &mut Problems,
    ) -> Vec<Located<(String, u64)>> {
        let Some((at, value)) = self.find(key) else { return Vec::new() };
        let DeValue::Table(table) = value.get_ref() else {
            problems.push(wrong_type(&at, "a table of whole numbers", value.get_ref()));
            return Vec::new();
        };
        let part = Section { source: self.source, title: at.key, table };
        let names = table.keys().map(|name| name.get_ref().to_string());
        let number = |name: String, problems: &mut Problems| {
            let Located { value, at } = part.integer(&name, range.clone(), problems)?;
            Some(Located { value: (name, value), at })
        };
        names.filter_map(|name| number(name, problems)).collect()
    }

    /// Whether there is a table under `key`, where something else could be.
    pub(crate) fn is_table(&self, key: &str) -> bool {
        self.find(key).is_some_and(|(_, value)| value.get_ref().is_table())
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&self, key: &str, problems: &mut Problems) -> Option<Located<bool>> {
        let (at, value) = self.find(key)?;
        match value.get_ref() {
            DeValue::Boolean(value) => Some(Located { value: *value, at }),
            other => {
                problems.push(wrong_type(&at, "true or false", other));
                None
            }
        }
    }

    /// A number in `range`, whole or with a fraction.
    pub(crate) fn number(
        &self,
        key: &str,
        range: RangeInclusive<f64>,
        problems: &mut Problems,
    ) -> Option<Located<f64>> {
        let (at, value) = self.find(key)?;
        let number: f64 = match value.get_ref() {
            DeValue::Float(float) => float.as_str().parse().unwrap_or(f64::NAN),
            DeValue::Integer(integer) if integer.radix() == 10 => {
                integer.as_str().parse().unwrap_or(f64::NAN)
            }
            other => {
                problems.push(wrong_type(&at, "a number such as 5 or 0.5", other));
                return None;
            }
        };
        if !range.contains(&number) {
            let remedy = format!("give a number from {} to {}", range.start(), range.end());
            problems.push(at.problem("out of range", remedy));
            return None;
        }
        Some(Located { value: number, at })
    }

    pub(crate) fn string(&self, key: &str, problems: &mut Problems) -> Option<Located<String>> {
        let (at, value) = self.find(key)?;
        let value = text(&at, value, problems)?;
        Some(Located { value, at })
    }

    /// A list of strings.
    pub(crate) fn strings(
        &self,
        key: &str,
        problems: &mut Problems,
    ) -> Option<Located<Vec<String>>> {
        let (at, value) = self.find(key)?;
        let DeValue::Array(items) = value.get_ref() else {
            problems.push(wrong_type(&at, "a list of strings", value.get_ref()));
            return None;
        };
        let value = items.iter().filter_map(|item| text(&at, item, problems)).collect();
        Some(Located { value, at })
    }

    /// A string, or a list of them.
    pub(crate) fn string_or_strings(
        &self,
        key: &str,
        problems: &mut Problems,
    ) -> Option<Located<Vec<String>>> {
        match self.find(key)?.1.get_ref() {
            DeValue::Array(_) => self.strings(key, problems),
            _ => {
                let one = self.string(key, problems)?;
                Some(Located { value: vec![one.value], at: one.at })
            }
        }
    }

    /// A table of strings.
    pub(crate) fn string_map(
        &self,
        key: &str,
        problems: &mut Problems,
    ) -> Option<Located<BTreeMap<String, String>>> {
        let (at, value) = self.find(key)?;
        let DeValue::Table(table) = value.get_ref() else {
            problems.push(wrong_type(&at, "a table of strings", value.get_ref()));
            return None;
        };
        let mut map = BTreeMap::new();
        for (name, value) in table {
            let name = name.get_ref().to_string();
            let at = Place { key: format!("{}.{name}", at.key), ..at.clone() };
            if let Some(value) = text(&at, value, problems) {
                map.insert(name, value);
            }
        }
        Some(Located { value: map, at })
    }

    /// A whole number in `range`.
    pub(crate) fn integer(
        &self,
        key: &str,
        range: RangeInclusive<u64>,
        problems: &mut Problems,
    ) -> Option<Located<u64>> {
        let (at, value) = self.find(key)?;
        let Some(integer) = value.get_ref().as_integer() else {
            problems.push(wrong_type(&at, "a whole number", value.get_ref()));
            return None;
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix());
        in_range(at, number.ok(), range, problems)
    }

    /// A duration in [`super::value::duration`]'s syntax.
    pub(crate) fn duration(
        &self,
        key: &str,
        problems: &mut Problems,
    ) -> Option<Located<std::time::Duration>> {
        let text = self.string(key, problems)?;
        match super::value::duration(&text.value) {
            Ok(value) => Some(Located { value, at: text.at }),
            Err(why) => {
                problems.push(text.at.problem(format!("{:?} is not accepted", text.value), why));
                None
            }
        }
    }

    /// Bytes: a whole number, or a string in [`super::value::size`]'s syntax.
    pub(crate) fn size(
        &self,
        key: &str,
        range: RangeInclusive<u64>,
        problems: &mut Problems,
    ) -> Option<Located<u64>> {
        let (at, value) = self.find(key)?;
        if !value.get_ref().is_str() {
            return self.integer(key, range, problems);
        }
        let text = text(&at, value, problems)?;
        match super::value::size(&text) {
            Ok(bytes) => in_range(at, Some(bytes), range, problems),
            Err(why) => {
                problems.push(at.problem(format!("{text:?} is not a size"), why));
                None
            }
        }
    }

    fn find(&self, key: &str) -> Option<(Place, &'a Spanned<DeValue<'a>>)> {
        let (name, value) = self.table.iter().find(|(name, _)| name.get_ref() == key)?;
        Some((self.place(key, name.span().start), value))
    }

    fn place(&self, key: &str, offset: usize) -> Place {
        let key =
            if self.title.is_empty() { key.to_owned() } else { format!("{} {key}", self.title) };
        Place { file: self.source.file.clone(), line: self.line(offset), key }
    }

    fn line(&self, offset: usize) -> usize {
        line_of(&self.source.text, offset)
    }

    fn path_to(&self, key: &str) -> String {
        let parent = self.title.trim_start_matches('[').trim_end_matches(']');
        if parent.is_empty() { format!("[{key}]") } else { format!("[{parent}.{key}]") }
    }
}

/// The line that byte `offset` of `text` is on, counted from 1.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|&byte| byte == b'\n').count()
}

fn in_range(
    at: Place,
    number: Option<u64>,
    range: RangeInclusive<u64>,
    problems: &mut Problems,
) -> Option<Located<u64>> {
    match number.filter(|number| range.contains(number)) {
        Some(value) => Some(Located { value, at }),
        None => {
            let remedy = format!("give a whole number from {} to {}", range.start(), range.end());
            problems.push(at.problem("out of range", remedy));
            None
        }
    }
}

/// A string without NUL, which neither a path nor a process argument can hold.
fn text(at: &Place, value: &Spanned<DeValue<'_>>, problems: &mut Problems) -> Option<String> {
    match value.get_ref() {
        DeValue::String(text) if text.contains('\0') => {
            problems.push(at.problem("holds a NUL character", "remove the \\u0000"));
            None
        }
        DeValue::String(text) => Some(text.to_string()),
        other => {
            problems.push(wrong_type(at, "a string", other));
            None
        }
    }
}

fn wrong_type(at: &Place, expected: &str, found: &DeValue<'_>) -> Problem {
    at.problem(format!("is {}", article(found.type_str())), format!("give {expected}"))
}

fn article(noun: &str) -> String {
    let vowel = noun.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {noun}", if vowel { "an" } else { "a" })
}
