//! `openssl s_client` as the peer, over loopback: a TLS stack that is not ours.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use rustls::{ServerConnection, Stream};
use sealwire_identity::{io_refusal, server_config};
use sealwire_names::{Refusal, RefusalCode};
use tempfile::TempDir;

use crate::support::{Ca, SERVER};

/// What the server makes of one connection of `openssl s_client` with these options:
/// the answer that the client got, or the refusal.
fn serve_one(options: &[&str]) -> Result<String, Refusal> {
    let ca = Ca::new();
    let leaf = ca.leaf(|_| ());
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("ca.pem"), ca.0.pem()).unwrap();
    fs::write(dir.path().join("cert.pem"), leaf.pem()).unwrap();
    fs::write(dir.path().join("key.pem"), &leaf.key_pem).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut client = Command::new("openssl")
        .args(["s_client", "-connect", &address, "-servername", SERVER, "-quiet"])
        .args(["-CAfile", "ca.pem", "-verify_return_error"])
        .args(options)
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();

    let config = server_config(&leaf.credential(), ca.anchors(), &[]).unwrap();
    let (mut socket, _) = listener.accept().unwrap();
    let mut connection = ServerConnection::new(config).unwrap();
    let mut stream = Stream::new(&mut connection, &mut socket);
    let served = stream.write_all(b"hello").map_err(|e| io_refusal(&e));
    if served.is_ok() {
        stream.conn.send_close_notify();
        stream.flush().unwrap();
    }
    drop(client.stdin.take());
    let mut answer = String::new();
    drop(socket);
    client.stdout.take().unwrap().read_to_string(&mut answer).unwrap();
    client.wait().unwrap();
    served.map(|()| answer)
}

const OURS: [&str; 4] = ["-cert", "cert.pem", "-key", "key.pem"];

#[test]
fn openssl_is_served_over_tls_1_3() {
    assert_eq!(serve_one(&OURS).unwrap(), "hello");
    let chacha = [&OURS[..], &["-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"]].concat();
    assert_eq!(serve_one(&chacha).unwrap(), "hello");
}

#[test]
fn openssl_is_refused_whatever_is_weaker() {
    for (options, code) in [
        (&["-tls1_2"][..], RefusalCode::TlsVersion),
        (&["-ciphersuites", "TLS_AES_128_GCM_SHA256"], RefusalCode::TlsParameters),
        (&["-groups", "P-256"], RefusalCode::TlsParameters),
    ] {
        let refused = serve_one(&[&OURS[..], options].concat()).unwrap_err();
        assert_eq!(refused.code, code, "{options:?}: {refused}");
    }
}

#[test]
fn openssl_without_a_certificate_is_refused() {
    let refused = serve_one(&[]).unwrap_err();
    assert_eq!(refused.code, RefusalCode::CertificateMissing, "{refused}");
}
