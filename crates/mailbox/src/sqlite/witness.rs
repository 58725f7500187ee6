use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use sealwire_names::Timestamp;

use super::files;

const LENGTH: usize = 16 + 8 + 8;

/// Remembers outside the database how often it has delivered a message, and had one acknowledged.
///
/// A database that was put back from a copy says less than its witness: what it has forgotten
/// would be delivered again. Written after each commit without waiting for the disk, so that it
/// may say too little after a power failure, and never too much.
pub(super) struct Witness(File);

/// What a witness says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Testimony {
    /// Of which store.
    pub(super) store: [u8; 16],
    /// Messages delivered and acknowledged, at least.
    pub(super) claims: u64,
    /// What time it was at the last of these: messages made until then may have been delivered,
    /// whatever the clock says now.
    pub(super) at: Timestamp,
}

impl Witness {
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        files::open_or_create(&directory.join("witness")).map(Self)
    }

    /// `None` if it has never been written, or is no witness.
    pub(super) fn read(&mut self) -> io::Result<Option<Testimony>> {
        let mut bytes = Vec::new();
        self.0.seek(SeekFrom::Start(0))?;
        Read::by_ref(&mut self.0).take(LENGTH as u64 + 1).read_to_end(&mut bytes)?;
        let Some((store, rest)) = bytes.split_first_chunk() else { return Ok(None) };
        let Some((claims, at)) = rest.split_first_chunk() else { return Ok(None) };
        let Ok(at) = at.try_into() else { return Ok(None) };
        let at = Timestamp::from_unix_millis(i64::from_be_bytes(at));
        Ok(Some(Testimony { store: *store, claims: u64::from_be_bytes(*claims), at }))
    }

    pub(super) fn write(&mut self, testimony: &Testimony) -> io::Result<()> {
        let mut bytes = [0; LENGTH];
        bytes[..16].copy_from_slice(&testimony.store);
        bytes[16..24].copy_from_slice(&testimony.claims.to_be_bytes());
        bytes[24..].copy_from_slice(&testimony.at.unix_millis().to_be_bytes());
        self.0.seek(SeekFrom::Start(0))?;
        self.0.write_all(&bytes)
    }

    /// For the first time, or anew: on disk before what depends on it.
    pub(super) fn establish(&mut self, testimony: &Testimony) -> io::Result<()> {
        self.0.set_len(LENGTH as u64)?;
        self.write(testimony)?;
        self.0.sync_all()
    }
}
