//! Keys of every kind and format in `--key`, and what is said of those that are of no use.

mod support;

use std::path::{Path, PathBuf};
use std::process::Output;

use support::*;

/// Whether there is no openssl, which makes and converts the keys; it is said.
fn is_missing(test: &str) -> bool {
    let why = missing("openssl").map(|why| format!("needs the package openssl: {why}"));
    why.inspect(|why| skip(test, why)).is_some()
}

/// Runs `openssl` with `words`, and `-out` a file of this name.
fn openssl(scratch: &Scratch, name: &str, words: &[&str]) -> PathBuf {
    let path = scratch.join(name);
    let made = run(quiet("openssl").args(words).arg("-out").arg(&path));
    assert!(made.status.success(), "openssl {words:?}: {}", stderr(&made));
    path
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A certificate that the key signed itself.
fn certificate(scratch: &Scratch, name: &str, key: &Path) -> PathBuf {
    openssl(scratch, name, &["req", "-x509", "-subj", "/CN=localhost", "-key", text(key)])
}

/// The certificate and the key of a file that has both, the key in its traditional format, if so
/// wanted: PKCS#1 for RSA, SEC1 for ECDSA.
fn apart(scratch: &Scratch, both: &Path, is_traditional: bool) -> [PathBuf; 2] {
    let name = |end: &str| format!("{}.{end}", both.file_stem().unwrap().to_str().unwrap());
    let certificate = openssl(scratch, &name("crt"), &["x509", "-in", text(both)]);
    let format: &[&str] = if is_traditional { &["-traditional"] } else { &[] };
    let key = openssl(scratch, &name("key"), &[&["pkey", "-in", text(both)], format].concat());
    [certificate, key]
}

/// A transfer whose ends show certificates to each other.
fn transfer(scratch: &Scratch, ca: &Path, server: &[PathBuf; 2], client: &[PathBuf; 2]) {
    let (source, destination) = (scratch.file("source", 100_000), scratch.join("destination"));
    let mut receive = sealift();
    receive.args(["receive", "tls://127.0.0.1:0"]).arg(&destination).arg("--client-ca").arg(ca);
    let receiving = listen(receive.arg("--cert").arg(&server[0]).arg("--key").arg(&server[1]));
    let mut send = sealift();
    send.arg("send").arg(&source).arg(format!("tls://127.0.0.1:{}", receiving.port));
    send.arg("--ca").arg(ca).arg("--cert").arg(&client[0]).arg("--key").arg(&client[1]);
    assert_done(&run(&mut send));
    assert_done(&receiving.finish());
    assert_same(&source, &destination);
}

#[test]
fn keys_of_every_kind_and_format_are_read() {
    if is_missing("keys_of_every_kind_and_format_are_read") {
        return;
    }
    for kind in KeyKind::ALL {
        // Ed25519 came after the traditional formats.
        let formats: &[bool] = if kind == KeyKind::Ed25519 { &[false] } else { &[false, true] };
        for &is_traditional in formats {
            let scratch = Scratch::new();
            let files = Certificates::of(kind, &scratch);
            let [server, client] =
                [&files.server, &files.client].map(|both| apart(&scratch, both, is_traditional));
            let first_line = |key: &Path| {
                let pem = std::fs::read_to_string(key).unwrap();
                pem.lines().next().unwrap().to_owned()
            };
            let expected = match (kind, is_traditional) {
                (KeyKind::Rsa2048, true) => "-----BEGIN RSA PRIVATE KEY-----",
                (KeyKind::P256 | KeyKind::P384, true) => "-----BEGIN EC PRIVATE KEY-----",
                _ => "-----BEGIN PRIVATE KEY-----",
            };
            assert_eq!(first_line(&server[1]), expected, "{kind:?}");
            transfer(&scratch, &files.ca, &server, &client);
        }
    }
}

/// What `receive` says when it is to show this.
fn refusal(certificate: &Path, key: &Path) -> Output {
    let mut command = sealift();
    command.args(["receive", "tls://127.0.0.1:0", "-", "--cert"]).arg(certificate);
    run(command.arg("--key").arg(key))
}

#[test]
fn keys_that_are_of_no_use_are_refused_with_the_reason() {
    if is_missing("keys_that_are_of_no_use_are_refused_with_the_reason") {
        return;
    }
    let scratch = Scratch::new();
    let make = |name: &str, words: &[&str]| openssl(&scratch, name, words);
    let rsa = make("rsa", &["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
    let short =
        make("short", &["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"]);
    let other = make("other", &["genpkey", "-algorithm", "ed25519"]);
    let curve = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"];
    let curve = make("curve", &curve);
    let bits = ["-pkeyopt", "dsa_paramgen_bits:1024", "-pkeyopt", "dsa_paramgen_q_bits:160"];
    let wanted = [&["genpkey", "-genparam", "-algorithm", "DSA"], &bits[..]].concat();
    let parameters = make("parameters", &wanted);
    let dsa = make("dsa", &["genpkey", "-paramfile", text(&parameters)]);
    let dsa_traditional = make("dsa-traditional", &["pkey", "-traditional", "-in", text(&dsa)]);
    let encrypt = ["-aes256", "-passout", "pass:secret", "-in", text(&rsa)];
    let encrypted = make("encrypted", &[&["pkey"], &encrypt[..]].concat());
    let words = [&["pkey", "-traditional"], &encrypt[..]].concat();
    let encrypted_traditional = make("encrypted-traditional", &words);
    let public = make("public", &["pkey", "-pubout", "-in", text(&rsa)]);

    let shown = certificate(&scratch, "rsa.crt", &rsa);
    let useless = "is of a kind that is of no use for TLS here";
    for (certificate, key, reason) in [
        (&shown, &encrypted, "the key is encrypted; decrypt it"),
        (&shown, &encrypted_traditional, "the key is encrypted; decrypt it"),
        (&shown, &other, "the key is not that of the certificate in "),
        (&shown, &public, "there is no private key in it; name"),
        (&certificate(&scratch, "short.crt", &short), &short, ", or too short; make an RSA key"),
        (&certificate(&scratch, "curve.crt", &curve), &curve, useless),
        (&certificate(&scratch, "dsa.crt", &dsa), &dsa, useless),
        (&certificate(&scratch, "dsa2.crt", &dsa), &dsa_traditional, useless),
    ] {
        let refused = refusal(certificate, key);
        assert_failed(&refused, &format!("read on {}: ", key.display()));
        assert!(stderr(&refused).contains(reason), "{reason}: {}", stderr(&refused));
    }
}
