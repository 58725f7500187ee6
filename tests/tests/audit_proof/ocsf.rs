//! What the Open Cybersecurity Schema Framework 1.3 asks of every event, and of each class that
//! is used, written down by hand from its schema: no part of it is the program's.

use serde_json::Value;

/// A class: its number, its category's, the activities it has, and what it must have: of each,
/// one of several.
type Class = (u64, u64, &'static [u64], &'static [&'static [&'static str]]);

const CLASSES: [Class; 5] = [
    (0, 0, &[0, 99], &[]),
    (2004, 2, &[0, 1, 2, 3, 99], &[&["/finding_info/uid"], &["/finding_info/title"]]),
    (
        3002,
        3,
        &[0, 1, 2, 3, 4, 5, 6, 99],
        &[
            &["/user/uid", "/user/name"],
            &["/service/name", "/service/uid", "/dst_endpoint/svc_name", "/dst_endpoint/ip"],
        ],
    ),
    (6002, 6, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 99], &[&["/app/vendor_name"]]),
    (
        6003,
        6,
        &[0, 1, 2, 3, 4, 99],
        &[
            &["/actor/user/uid", "/actor/user/name"],
            &["/api/operation"],
            &["/src_endpoint/ip", "/src_endpoint/uid", "/src_endpoint/name"],
        ],
    ),
];

/// What an event may have beside what its class has: the attributes of the base event.
const BASE: [&str; 16] = [
    "activity_id",
    "activity_name",
    "category_uid",
    "class_uid",
    "count",
    "duration",
    "message",
    "metadata",
    "severity_id",
    "status_code",
    "status_detail",
    "status_id",
    "time",
    "type_uid",
    "unmapped",
    "observables",
];

/// What each class adds to that, as far as it is used.
fn own(class: u64) -> &'static [&'static str] {
    match class {
        2004 => &["finding_info"],
        3002 => &["user", "service", "src_endpoint", "dst_endpoint"],
        6002 => &["app"],
        6003 => &["actor", "api", "src_endpoint", "dst_endpoint"],
        _ => &[],
    }
}

/// The event is one of that schema.
pub(crate) fn holds(event: &Value) {
    let number =
        |name: &str| event[name].as_u64().unwrap_or_else(|| panic!("{name} is no number: {event}"));
    let text = |path: &str| event.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let class = CLASSES.iter().find(|(class, ..)| *class == number("class_uid"));
    let (class, category, activities, needed) = class.unwrap_or_else(|| panic!("{event}"));
    assert_eq!(number("category_uid"), *category, "{event}");
    let activity = number("activity_id");
    assert!(activities.contains(&activity), "{event}");
    // An activity without a number has a name.
    assert!(activity != 99 || !text("/activity_name").is_empty(), "{event}");
    assert_eq!(number("type_uid"), class * 100 + activity, "{event}");
    assert!(matches!(number("severity_id"), 0..=6 | 99), "{event}");
    assert!(matches!(number("status_id"), 0..=2 | 99), "{event}");
    // In milliseconds: not before this was written, nor in the far future.
    assert!((1_700_000_000_000..10_000_000_000_000).contains(&number("time")), "{event}");
    let version: Vec<_> = text("/metadata/version").split('.').collect();
    assert!(version.len() == 3 && version[0] == "1", "{event}");
    assert!(version.iter().all(|part| part.parse::<u32>().is_ok()), "{event}");
    for path in ["/metadata/product/vendor_name", "/metadata/product/name", "/metadata/uid"] {
        assert!(!text(path).is_empty(), "{path}: {event}");
    }
    for paths in *needed {
        assert!(paths.iter().any(|path| !text(path).is_empty()), "{paths:?}: {event}");
    }
    for name in event.as_object().unwrap().keys() {
        let is_known = BASE.contains(&&**name) || own(*class).contains(&&**name);
        assert!(is_known, "{class} has no {name}: {event}");
    }
    for path in ["/status_code", "/status_detail", "/api/request/uid", "/dst_endpoint/svc_name"] {
        assert!(event.pointer(path).is_none_or(Value::is_string), "{path}: {event}");
    }
}
