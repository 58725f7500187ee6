//! The log of what happened, read by no code of the program's.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// Every entry of the log in a directory, in order; each is where its number says. What is under
/// way at its end is left out.
pub fn entries(log: &Path) -> Vec<Value> {
    let mut days: Vec<_> = fs::read_dir(log)
        .expect("the log")
        .map(|entry| entry.expect("a file of it").path())
        .filter(|path| path.extension().is_some_and(|end| end == "jsonl"))
        .collect();
    days.sort();
    let text: String = days.iter().map(|day| fs::read_to_string(day).expect("a day")).collect();
    let entries: Vec<Value> = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    for (number, entry) in entries.iter().enumerate() {
        assert_eq!(entry["entry"], number);
    }
    entries
}

/// The calls that an entry is about, each as an entry of its own, with its place there in `call`.
pub fn calls(entry: &Value) -> Vec<Value> {
    let count = entry.get("calls").map_or(1, |calls| calls.as_u64().expect("a number"));
    let place = |at: u64| {
        let mut call = entry.clone();
        call["call"] = at.into();
        if count > 1 {
            for value in call.as_object_mut().expect("an object").values_mut() {
                if let Value::Array(values) = value {
                    assert_eq!(values.len() as u64, count, "{entry}");
                    *value = values.swap_remove(usize::try_from(at).expect("few"));
                }
            }
        }
        call
    };
    (0..count).map(place).collect()
}
