//! What is in memory stays there: keys of agents, and what they write to each other.

use super::Failure;

/// From now on the system writes no core dump of this process, and lets no other process of
/// the same user look into it. Root can; the documents say so.
///
/// What is wiped when it is dropped is wiped, but a library may have copied it, and the keys
/// must be there as long as the process can use them.
pub(crate) fn keep_private() -> Result<(), Failure> {
    let cannot = |error| {
        Failure::new("cannot keep core dumps of this process from being written")
            .because(error)
            .fix("this is a defect or an unusual system; report it")
    };
    // A dump that is handed to a program, as by systemd-coredump, does not ask for the limit.
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(cannot)
    }
    #[cfg(all(unix, not(target_os = "linux")))]
    {
        use rustix::process::{Resource, Rlimit, setrlimit};
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        setrlimit(Resource::Core, none).map_err(cannot)
    }
    // Windows writes a dump only where an administrator has asked for it.
    #[cfg(not(unix))]
    {
        let _: fn(std::io::Error) -> Failure = cannot;
        Ok(())
    }
}
