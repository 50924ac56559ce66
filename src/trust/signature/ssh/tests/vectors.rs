// SPDX-License-Identifier: Apache-2.0
//! OpenSSH's own vectors (regress/unittests/sshsig/testdata), which are no part of this project.

use std::fs;
use std::path::PathBuf;

use super::*;

/// Returns the folder, or nothing where a person may do without. CI may not.
#[allow(clippy::print_stderr)]
fn folder() -> Option<PathBuf> {
    match std::env::var_os("HOSTWRIT_VECTORS") {
        Some(path) => Some(PathBuf::from(path).join("sshsig")),
        None if std::env::var_os("CI").is_some() => panic!("HOSTWRIT_VECTORS must name the folder of vectors in CI"),
        None => {
            eprintln!("SKIP: HOSTWRIT_VECTORS does not name the folder of vectors");
            None
        }
    }
}

#[test]
fn each_vector_is_accepted_or_refused_with_its_code() {
    let Some(folder) = folder() else { return };
    let read = |name: &str| fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let namespace = String::from_utf8(read("namespace")).unwrap();
    let data = read("signed-data");
    let expected = [
        ("ecdsa", Ok(())),
        ("ecdsa_sk", Ok(())),
        ("ecdsa_sk_webauthn", Err(Code::UnsupportedSignature)),
        ("ed25519", Ok(())),
        ("ed25519_sk", Ok(())),
        ("mldsa44-ed25519", Err(Code::UnsupportedSignature)),
        ("rsa", Ok(())),
    ];
    let mut found: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .filter_map(|entry| Some(entry.unwrap().file_name().to_str()?.strip_suffix(".sig")?.to_owned()))
        .collect();
    found.sort();
    assert_eq!(found, expected.map(|(name, _)| name), "a vector without a verdict");

    for (name, verdict) in expected {
        let armor = read(&format!("{name}.sig"));
        let line = read(&format!("{name}.pub"));
        let judged = Ssh::parse(&armor, &namespace).and_then(|signature| {
            signature.verify(&data)?;
            Ok(signature)
        });
        assert_eq!(judged.as_ref().map(|_| ()).map_err(Refusal::code), verdict, "{name}");
        let Ok(signature) = judged else { continue };
        assert_eq!(*signature.key(), SshKey::parse(&line).unwrap(), "{name}");
        assert_eq!(encode_armor(&signature.to_blob()).as_bytes(), armor, "{name}");
        let other = [data.as_slice(), b"."].concat();
        assert_eq!(signature.verify(&other).unwrap_err().code(), Code::BadSignature, "{name}");
        assert_eq!(Ssh::parse(&armor, GIT).unwrap_err().code(), Code::MalformedSignature, "{name}");
    }
    // Of the two that are refused, one has a good key; the other's is of a kind that is not supported.
    SshKey::parse(&read("ecdsa_sk_webauthn.pub")).unwrap();
    let fault = SshKey::parse(&read("mldsa44-ed25519.pub")).unwrap_err();
    assert!(fault.contains("ssh-mldsa44-ed25519@openssh.com"), "{fault}");
}
