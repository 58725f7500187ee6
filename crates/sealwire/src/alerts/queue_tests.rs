use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn at(seconds: u64) -> Now {
    let steady = Duration::from_secs(seconds);
    Now { wall: 1_000_000 + i64::try_from(seconds * 1_000).unwrap(), steady }
}

fn queue(kept: &KeptAlerts, channels: &[&str]) -> Queue {
    let (mut queue, unreadable) = Queue::new(kept, HOUR, 24 * HOUR);
    assert_eq!(unreadable, 0);
    queue.configure(channels, HOUR, 24 * HOUR);
    queue
}

fn alert(name: &str, seconds: u64) -> Alert {
    Alert { at: at(seconds).wall, ..Alert::new(Kind::Quarantined).about("peer", name) }
}

fn names(batch: Option<Batch>) -> Vec<String> {
    let name = |alert: Alert| format!("{} {}", alert.subject.unwrap().name, alert.count);
    batch.into_iter().flat_map(|batch| batch.alerts).map(name).collect()
}

/// Applies changes as the disk does.
fn keep(kept: &mut KeptAlerts, queue: &mut Queue) {
    for change in queue.changes() {
        match change {
            AlertChange::Waits(id, body, channels) => {
                kept.waiting.retain(|(other, ..)| *other != id);
                kept.waiting.push((id, body, channels));
            }
            AlertChange::Done(id) => kept.waiting.retain(|(other, ..)| *other != id),
            AlertChange::Repeats(key, body) => {
                kept.repeated.retain(|(other, _)| *other != key);
                kept.repeated.push((key, body));
            }
            AlertChange::Ended(key) => kept.repeated.retain(|(other, _)| *other != key),
            AlertChange::Told(_) | AlertChange::Gone(_) => panic!("not the queue's"),
        }
    }
    queue.kept();
    assert_eq!(queue.changes(), []);
}

#[test]
fn the_same_again_is_counted_and_told_once_when_its_time_is_over() {
    let mut queue = queue(&KeptAlerts::default(), &["slack"]);
    for second in 0..7 {
        queue.raise(alert("a", second), at(second));
    }
    queue.raise(alert("b", 7), at(7));
    assert_eq!(names(queue.due("slack", at(8))), ["a 1", "b 1"]);
    queue.delivered("slack", &[1, 2], at(8));
    queue.tick(at(3599));
    assert_eq!(queue.due("slack", at(3599)), None);
    queue.tick(at(3600));
    let again = queue.due("slack", at(3600)).unwrap();
    assert_eq!(again.alerts[0].at, at(6).wall, "the latest of them");
    assert_eq!(names(Some(again)), ["a 6"]);
    queue.delivered("slack", &[3], at(3601));
    // What has not come again is forgotten, and told at once when it comes.
    queue.tick(at(7201));
    queue.raise(alert("a", 7202), at(7202));
    queue.raise(alert("b", 7202), at(7202));
    assert_eq!(names(queue.due("slack", at(7203))), ["a 1", "b 1"]);
}

#[test]
fn a_clock_that_is_set_back_does_not_prolong_the_counting() {
    let mut queue = queue(&KeptAlerts::default(), &["slack"]);
    let later = Now { wall: at(1_000_000).wall, steady: Duration::ZERO };
    queue.raise(alert("a", 0), later);
    queue.raise(alert("a", 0), at(1));
    queue.tick(at(2));
    assert_eq!(names(queue.due("slack", at(2))), ["a 1", "a 1"]);
}

#[test]
fn each_channel_has_its_own_failures_and_what_failed_is_sent_again_as_it_was() {
    let mut queue = queue(&KeptAlerts::default(), &["email", "slack"]);
    queue.raise(alert("a", 0), at(0));
    let (mail, slack) = (queue.due("email", at(0)).unwrap(), queue.due("slack", at(0)).unwrap());
    assert_eq!(mail, slack);
    assert_eq!(queue.due("email", at(0)), None, "busy");
    queue.delivered("slack", &slack.ids, at(0));
    assert_eq!(queue.failed("email", "no".to_owned(), None, 1.0, at(0)), 0);
    queue.raise(alert("b", 0), at(0));
    assert_eq!(queue.due("email", at(0)), None, "not yet");
    assert_eq!(queue.next_attempt(), Some(Duration::from_secs(1)));
    assert_eq!(queue.due("email", at(1)), Some(mail), "the same message, which may have arrived");
    let shown = queue.channels();
    assert_eq!((shown["email"].waiting, shown["email"].failures), (2, 1));
    assert_eq!((shown["slack"].waiting, shown["slack"].delivered), (1, 1));
    assert_eq!(shown["email"].last_failure.as_deref(), Some("no"));
}

#[test]
fn pauses_double_have_an_end_and_are_not_all_the_same() {
    let pause_of = |millis| Duration::from_millis(millis);
    assert_eq!(pause(1, None, 0.0), pause_of(500));
    assert_eq!(pause(1, None, 1.0), pause_of(1_000));
    assert_eq!(pause(4, None, 1.0), pause_of(8_000));
    for failures in [20, 31, 32, u32::MAX] {
        assert_eq!(pause(failures, None, 1.0), LONGEST_PAUSE);
    }
    assert_eq!(pause(1, Some(pause_of(60_000)), 0.0), pause_of(60_000), "as the receiver asks");
    assert_eq!(pause(1, Some(HOUR), 0.0), LONGEST_PAUSE);
}

#[test]
fn a_restart_forgets_nothing() {
    let mut kept = KeptAlerts::default();
    let mut before = queue(&kept, &["email", "slack"]);
    before.raise(alert("a", 0), at(0));
    before.raise(alert("a", 1), at(1));
    before.raise(alert("b", 1), at(1));
    keep(&mut kept, &mut before);
    before.delivered("slack", &[1], at(2));
    before.delivered("email", &[1], at(2));
    before.delivered("slack", &[2], at(2));
    keep(&mut kept, &mut before);
    let mut after = queue(&kept, &["email", "slack"]);
    assert_eq!(after.due("slack", at(3)), None);
    assert_eq!(names(after.due("email", at(3))), ["b 1"]);
    after.delivered("email", &[2], at(3));
    after.tick(at(3600));
    assert_eq!(names(after.due("slack", at(3600))), ["a 1"], "which had been counted");
    // Numbers are not used twice.
    assert!(after.alerts.keys().all(|id| *id > 2));
}

#[test]
fn what_nobody_takes_is_given_up_after_its_time_and_only_there() {
    let mut queue = queue(&KeptAlerts::default(), &["email", "slack"]);
    queue.raise(alert("a", 0), at(0));
    queue.raise(alert("b", 50_000), at(50_000));
    let day = 24 * 3600;
    queue.due("email", at(day)).unwrap();
    assert_eq!(queue.failed("email", "no".to_owned(), None, 1.0, at(day)), 1);
    assert_eq!(names(queue.due("email", at(day + 1))), ["b 1"]);
    assert_eq!(names(queue.due("slack", at(day + 1))), ["a 1", "b 1"]);
    assert_eq!(queue.channels()["email"].given_up, 1);
}

#[test]
fn it_has_bounds_and_says_what_was_lost() {
    let mut kept = KeptAlerts::default();
    let mut queue = queue(&kept, &["slack"]);
    for number in 0..MOST_WAITING {
        let warning = Alert::new(Kind::Incident).about("address", &number.to_string());
        queue.raise(warning, at(0));
    }
    assert_eq!(queue.alerts.len(), MOST_WAITING / 2, "strangers leave room for what counts");
    for number in 0..MOST_WAITING {
        queue.raise(alert(&number.to_string(), 0), at(0));
    }
    assert_eq!(queue.alerts.len(), MOST_WAITING);
    assert!(queue.repeated.len() <= MOST_REPEATED);
    let lost = queue.lost_in_all();
    assert_eq!(lost, MOST_WAITING as u64);
    let mut second = 0;
    let told = loop {
        second += 2;
        queue.tick(at(second));
        let Some(batch) = queue.due("slack", at(second)) else { panic!("it is not told") };
        assert!(batch.alerts.len() <= MOST_TOGETHER);
        if let Some(told) = batch.alerts.iter().find(|alert| alert.kind == Kind::AlertsLost) {
            break told.clone();
        }
        queue.delivered("slack", &batch.ids, at(second));
    };
    assert_eq!(told.details, [("lost".to_owned(), lost.to_string())]);
    keep(&mut kept, &mut queue);
}

#[test]
fn what_waits_for_a_channel_that_is_gone_is_forgotten() {
    let mut queue = queue(&KeptAlerts::default(), &["email", "slack"]);
    queue.raise(alert("a", 0), at(0));
    queue.configure(&["slack", "webhook"], HOUR, HOUR);
    assert_eq!(queue.due("email", at(0)), None);
    assert_eq!(queue.due("webhook", at(0)), None, "what was before is not told anew");
    assert_eq!(names(queue.due("slack", at(0))), ["a 1"]);
    queue.configure(&[], HOUR, HOUR);
    queue.raise(alert("b", 0), at(0));
    assert_eq!(queue.alerts.len(), 0);
}

#[test]
fn each_alert_says_how_the_log_stood_when_it_came() {
    let mut queue = queue(&KeptAlerts::default(), &["slack"]);
    queue.stand(|| panic!("nobody asks"));
    queue.raise(alert("a", 0), at(0));
    queue.stand(|| Some("first".to_owned()));
    queue.raise(alert("b", 0), at(0));
    queue.stand(|| None);
    queue.raise(alert("c", 0), at(0));
    queue.stand(|| Some("third".to_owned()));
    let batch = queue.due("slack", at(0)).unwrap();
    let notes: Vec<_> = batch.alerts.iter().map(|alert| alert.checkpoint.as_deref()).collect();
    assert_eq!(notes, [Some("first"), None, Some("third")]);
}
