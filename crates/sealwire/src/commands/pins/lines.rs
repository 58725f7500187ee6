//! Two definitions, line by line.

/// Lines around a change that are shown.
const AROUND: usize = 2;
/// Most comparisons of lines: beyond, all that is between the first and the last difference
/// is shown as removed and added.
const MOST: usize = 4_000_000;

/// One line of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Same(String),
    Removed(String),
    Added(String),
    /// So many lines that are the same.
    Omitted(usize),
}

/// What differs between two canonical JSON texts; the first may be empty.
pub(super) fn diff(before: &str, after: &str) -> Vec<Line> {
    let (before, after) = (pretty(before), pretty(after));
    let start = before.iter().zip(&after).take_while(|(a, b)| a == b).count();
    let (old, new) = (&before[start..], &after[start..]);
    let end = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[..old.len() - end], &new[..new.len() - end]);
    let mut lines: Vec<Line> = before[..start].iter().cloned().map(Line::Same).collect();
    if old.len().saturating_mul(new.len()) > MOST {
        lines.extend(old.iter().cloned().map(Line::Removed));
        lines.extend(new.iter().cloned().map(Line::Added));
    } else {
        lines.extend(between(old, new));
    }
    lines.extend(before[before.len() - end..].iter().cloned().map(Line::Same));
    shortened(lines)
}

/// By the longest common subsequence.
fn between(old: &[String], new: &[String]) -> Vec<Line> {
    let width = new.len() + 1;
    let mut longest = vec![0_u32; (old.len() + 1) * width];
    for (i, a) in old.iter().enumerate().rev() {
        for (j, b) in new.iter().enumerate().rev() {
            longest[i * width + j] = if a == b {
                longest[(i + 1) * width + j + 1] + 1
            } else {
                longest[(i + 1) * width + j].max(longest[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push(Line::Same(old[i].clone()));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len()
            || (i < old.len() && longest[(i + 1) * width + j] >= longest[i * width + j + 1])
        {
            lines.push(Line::Removed(old[i].clone()));
            i += 1;
        } else {
            lines.push(Line::Added(new[j].clone()));
            j += 1;
        }
    }
    lines
}

fn shortened(lines: Vec<Line>) -> Vec<Line> {
    let is_same = |line: &Line| matches!(line, Line::Same(_));
    let near = |at: usize| {
        let from = at.saturating_sub(AROUND);
        lines[from..lines.len().min(at + AROUND + 1)].iter().any(|line| !is_same(line))
    };
    let keep: Vec<bool> = (0..lines.len()).map(near).collect();
    let mut short = Vec::new();
    for (line, keep) in lines.into_iter().zip(keep) {
        match (keep, short.last_mut()) {
            (true, _) => short.push(line),
            (false, Some(Line::Omitted(count))) => *count += 1,
            (false, _) => short.push(Line::Omitted(1)),
        }
    }
    short
}

/// Canonical JSON, which holds no white space outside of strings, with a line for each
/// member and element.
fn pretty(canonical: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut depth = 0_usize;
    let (mut in_string, mut escaped) = (false, false);
    let mut characters = canonical.chars().peekable();
    while let Some(character) = characters.next() {
        let mut turn = |depth: usize| lines.push("  ".repeat(depth));
        if in_string {
            (in_string, escaped) = (character != '"' || escaped, character == '\\' && !escaped);
        } else {
            match character {
                '"' => in_string = true,
                '}' | ']' => {
                    depth = depth.saturating_sub(1);
                    turn(depth);
                }
                _ => {}
            }
        }
        if let Some(line) = lines.last_mut() {
            line.push(character);
        }
        if in_string {
            continue;
        }
        match character {
            '{' | '[' => match characters.peek() {
                Some('}' | ']') => {
                    let closing = characters.next();
                    if let Some(line) = lines.last_mut() {
                        line.extend(closing);
                    }
                }
                _ => {
                    depth += 1;
                    lines.push("  ".repeat(depth));
                }
            },
            ',' => lines.push("  ".repeat(depth)),
            ':' => {
                if let Some(line) = lines.last_mut() {
                    line.push(' ');
                }
            }
            _ => {}
        }
    }
    lines.retain(|line| !line.trim().is_empty());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_in_strings_turn_no_line() {
        let text = r#"{"a":"{[\"\\","b":[],"c":[1,{"d":null}]}"#;
        let expected =
            ["{", r#"  "a": "{[\"\\","#, r#"  "b": [],"#, r#"  "c": ["#, "    1,", "    {"];
        assert_eq!(pretty(text)[..6], expected);
        assert_eq!(pretty(text)[6..], [r#"      "d": null"#, "    }", "  ]", "}"]);
        assert!(pretty("").is_empty());
    }

    #[test]
    fn what_differs_is_shown_with_what_is_around_it() {
        let before = r#"{"a":1,"b":2,"c":3,"d":"old","e":5,"f":6,"g":7,"h":8}"#;
        let after = before.replace("old", "new");
        let lines = diff(before, &after);
        assert_eq!(
            lines,
            [
                Line::Omitted(2),
                Line::Same("  \"b\": 2,".into()),
                Line::Same("  \"c\": 3,".into()),
                Line::Removed("  \"d\": \"old\",".into()),
                Line::Added("  \"d\": \"new\",".into()),
                Line::Same("  \"e\": 5,".into()),
                Line::Same("  \"f\": 6,".into()),
                Line::Omitted(3),
            ]
        );
        assert!(diff("", "{\"a\":1}").iter().all(|line| matches!(line, Line::Added(_))));
        assert_eq!(diff("1", "1"), [Line::Omitted(1)]);
    }

    #[test]
    fn a_line_in_the_middle_is_an_addition_and_no_more() {
        let lines = diff(r#"["a","b","c"]"#, r#"["a","x","b","c"]"#);
        let changed: Vec<_> =
            lines.iter().filter(|line| !matches!(line, Line::Same(_) | Line::Omitted(_))).collect();
        assert_eq!(changed, [&Line::Added("  \"x\",".into())]);
    }
}
