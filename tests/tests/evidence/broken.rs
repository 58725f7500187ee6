//! Disks that take no more, and others who want to write.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use sealwire_testkit::{Disk, Home, Process, Serve, wait_until};
use sealwire_tests::{echo_table, honest_session};

use super::{Caller, all_is_there, entries, got, of_type, recording_table};

/// Where `serve` answers health checks.
fn admin_address(serve: &Serve) -> String {
    let line = serve.log().wait_for(&["answering health checks"]);
    line.rsplit_once("address=").expect("the line names it").1.trim().to_owned()
}

#[test]
fn on_a_full_disk_calls_are_refused_until_there_is_room() {
    for durability in ["fsync", "interval"] {
        let home = Home::initialized();
        let log = home.file("audit");
        let Some(disk) = Disk::mount(&log, "size=1m,mode=700") else { return };
        let audit =
            format!("[admin]\naddress = \"127.0.0.1:0\"\n[audit]\ndurability = \"{durability}\"\n");
        home.configure(&format!("{audit}{}", recording_table(&home)));
        home.run(&["cert", "issue", "--all"]).ok();
        let serve = Serve::start(&home);
        let admin = admin_address(&serve);
        let ready = || home.run(&["health", "--ready", "--address", &admin]);
        ready().ok();
        let caller = Caller::start(&home, &serve, "a");
        serve.log().wait_for(&["audit log cannot be written", "nothing is allowed"]);
        let (mut answered, _) = caller.stop();
        assert!(answered.len() > 100, "{} answers", answered.len());
        let told = ready();
        assert_eq!(told.code, Some(1), "{told:?}");
        assert!(format!("{told:?}").contains("audit_unwritable"), "{told:?}");
        // Nobody gets anything done.
        let caller = Caller::start(&home, &serve, "b");
        let mut process = caller;
        wait_until("it is refused", || {
            !process.refused.lock().unwrap().is_empty() || !process.connect.is_running()
        });
        assert_eq!(process.stop().0, Vec::<String>::new());
        disk.change("size=64m");
        serve.log().wait_for(&["audit log can be written again"]);
        ready().ok();
        let caller = Caller::start(&home, &serve, "c");
        wait_until("calls are answered again", || caller.answers() > 10);
        answered.extend(caller.stop().0);
        serve.stop();
        all_is_there(&home, &log, &answered);
        let entries = entries(&log);
        let recovered = of_type(&entries, "log.recovered");
        assert!(recovered.iter().any(|entry| entry["unrecorded"].as_u64() > Some(0)));
        assert_eq!(entries.last().unwrap()["type"], "log.stop");
    }
}

/// The same for which modes hold, also where it is root's, who may write whatever they say.
fn bound_by_modes(command: &Command) -> Command {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        let mut same = Command::new(command.get_program());
        same.args(command.get_args()).envs(vars_of(command));
        return same;
    }
    let mut bound = Command::new("setpriv");
    bound.arg("--bounding-set=-dac_override,-dac_read_search");
    bound.arg(command.get_program()).args(command.get_args()).envs(vars_of(command));
    bound
}

fn vars_of(command: &Command) -> impl Iterator<Item = (&OsStr, &OsStr)> {
    command.get_envs().filter_map(|(name, value)| Some((name, value?)))
}

/// The file that is written can still be, but no checkpoint of it: what is let through is in the
/// log, and it is no more than until that is noticed.
#[test]
fn in_a_directory_made_read_only_under_load_nothing_more_is_let_through() {
    for durability in ["fsync", "interval"] {
        let home = Home::initialized();
        let audit = format!("[audit]\ndurability = \"{durability}\"\n");
        home.configure(&format!("{audit}{}", recording_table(&home)));
        home.run(&["cert", "issue", "--all"]).ok();
        let mut command = home.sealwire();
        command.arg("serve");
        let serve = Serve::spawn(bound_by_modes(&command));
        let caller = Caller::start(&home, &serve, "a");
        wait_until("calls are answered", || caller.answers() > 100);
        home.chmod("audit", 0o500);
        serve.log().wait_for(&["audit log cannot be written", "nothing is allowed"]);
        let (mut answered, _) = caller.stop();
        let process = Caller::start(&home, &serve, "b");
        wait_until("it is refused", || !process.refused.lock().unwrap().is_empty());
        assert_eq!(process.stop().0, Vec::<String>::new());
        assert!(got(&home).iter().all(|id| !id.contains("b-")), "a call has reached the server");
        home.chmod("audit", 0o700);
        serve.log().wait_for(&["audit log can be written again"]);
        let caller = Caller::start(&home, &serve, "c");
        wait_until("calls are answered again", || caller.answers() > 10);
        answered.extend(caller.stop().0);
        assert!(serve.stop().success());
        all_is_there(&home, &home.file("audit"), &answered);
        let entries = entries(&home.file("audit"));
        let recovered = of_type(&entries, "log.recovered");
        assert!(recovered.iter().any(|entry| entry["unrecorded"].as_u64() > Some(0)));
    }
}

#[test]
fn where_nothing_can_be_written_nothing_is_served() {
    let home = Home::with_config(&echo_table());
    let Some(_disk) = Disk::mount(&home.file("audit"), "ro,mode=700") else { return };
    let output = home.run(&["serve"]);
    assert_eq!(output.code, Some(1), "{}", output.stderr);
    for part in ["the audit log cannot be written", "ead-only", "log_dir"] {
        assert!(output.stderr.contains(part), "{}", output.stderr);
    }
}

#[test]
fn of_two_writers_one_is_refused() {
    let home = Home::with_config(&echo_table());
    let serve = Serve::start(&home);
    let other = Home::initialized();
    let log_dir = sealwire_testkit::quoted(home.file("audit"));
    let listen = "[listen]\naddress = \"127.0.0.1:0\"\ndrain_timeout = \"10ms\"\n";
    other.configure(&format!("{listen}[audit]\nlog_dir = {log_dir}\n{}", echo_table()));
    other.run(&["cert", "issue", "--all"]).ok();
    let mut command = other.sealwire();
    command.arg("serve");
    let mut second = Process::spawn(command);
    second.log().wait_for(&["writes this log"]);
    assert_eq!(second.wait().code(), Some(1));
    honest_session(&home, serve.address());
}

#[test]
fn what_is_torn_is_cut_off_and_what_was_signed_is_not_begun_anew() {
    let home = Home::with_config(&echo_table());
    let serve = Serve::start(&home);
    honest_session(&home, serve.address());
    serve.stop();
    let log = home.file("audit");
    let day = std::fs::read_dir(&log)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|end| end == "jsonl"))
        .unwrap();
    let whole = std::fs::read_to_string(&day).unwrap();
    std::fs::write(&day, format!("{whole}{{\"entry\":9")).unwrap();
    let serve = Serve::start(&home);
    serve.stop();
    let told = entries(&log);
    assert_eq!(of_type(&told, "log.recovered")[0]["cut_bytes"], 10);
    // The last line of all, which was signed.
    let whole = std::fs::read_to_string(&day).unwrap();
    let cut = whole.trim_end().rfind('\n').unwrap() + 1;
    std::fs::write(&day, &whole[..cut]).unwrap();
    let output = home.run(&["serve"]);
    assert_eq!(output.code, Some(1), "{}", output.stderr);
    for part in ["were signed", "sealwire audit verify", "log_dir"] {
        assert!(output.stderr.contains(part), "{}", output.stderr);
    }
    assert_eq!(std::fs::read_to_string(&day).unwrap(), whole[..cut]);
}
