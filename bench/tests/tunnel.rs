//! The floor carries bytes both ways, ends when either side does, and wants
//! certificates on both ends.
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::path::Path;
use std::thread;

use sealwire_bench::certificates::{Certificates, Pair};
use sealwire_bench::process::{Background, Launch};

const PROGRAM: &str = env!("CARGO_BIN_EXE_sealwire-floor");

/// A serving side whose child copies its input to its output, and its address.
fn serve(directory: &Path, certificates: &Certificates) -> (Background, String) {
    let Pair { cert, key } = &certificates.server;
    let launch = Launch::new(PROGRAM, directory.join("serve.log")).args([
        Path::new("serve"),
        &certificates.ca,
        cert,
        key,
        Path::new("cat"),
    ]);
    let mut serve = launch.background().unwrap();
    let address = serve.wait_for_address().unwrap();
    (serve, address.to_string())
}

fn connect(directory: &Path, certificates: &Certificates, own: &Pair, address: &str) -> Launch {
    let arguments = [Path::new("connect"), &certificates.ca, &own.cert, &own.key];
    Launch::new(PROGRAM, directory.join("connect.log")).args(arguments).args([address])
}

#[test]
fn bytes_come_back_and_the_end_of_input_ends_everything() {
    let directory = tempfile::tempdir().unwrap();
    let certificates = Certificates::create(directory.path()).unwrap();
    let (_serve, address) = serve(directory.path(), &certificates);
    let mut child =
        connect(directory.path(), &certificates, &certificates.client, &address).piped().unwrap();
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let (mut input, copy) = (child.stdin.take().unwrap(), sent.clone());
    let writer = thread::spawn(move || input.write_all(&copy).unwrap());
    let mut received = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut received).unwrap();
    writer.join().unwrap();
    assert!(received == sent, "{} of {} bytes, or others", received.len(), sent.len());
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_client_of_another_ca_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let certificates = Certificates::create(directory.path()).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let stranger = Certificates::create(elsewhere.path()).unwrap().client;
    let (_serve, address) = serve(directory.path(), &certificates);
    let launch = connect(directory.path(), &certificates, &stranger, &address);
    let mut child = launch.piped().unwrap();
    let mut received = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut received).unwrap();
    assert!(received.is_empty());
    assert!(!child.wait().unwrap().success());
    assert!(launch.log_tail().contains("AlertReceived"), "{}", launch.log_tail());
}
