//! OpenSSH's own programs read what this crate writes, and the other way round.

use std::path::Path;
use std::process::{Command, Stdio};

use hyprbox_signing::{
    JOB_NAMESPACE, KeyKind, PublicKey, SignKey, Signers, SshAgent, SshSignature,
};

const MESSAGE: &[u8] = br#"{"v":1}"#;

fn run(program: &str, args: &[&str], input: &[u8]) -> (bool, String) {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("OpenSSH is installed (apt install openssh-client)");
    std::io::Write::write_all(&mut child.stdin.take().expect("stdin"), input).expect("writes");
    let output = child.wait_with_output().expect("ends");
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .expect("creates");
    std::io::Write::write_all(&mut file, text.as_bytes()).expect("writes");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Whether `ssh-keygen -Y verify` accepts the signature of `who` under the list of signers.
fn verifies(folder: &Path, signers: &str, who: &str, signature: &str, message: &[u8]) -> bool {
    let (list, file) = (folder.join("allowed"), folder.join("job.sig"));
    std::fs::write(&list, signers).expect("writes");
    std::fs::write(&file, signature).expect("writes");
    let args = [
        "-Y",
        "verify",
        "-f",
        text(&list),
        "-I",
        who,
        "-n",
        JOB_NAMESPACE,
        "-s",
        text(&file),
    ];
    let (is_good, output) = run("ssh-keygen", &args, message);
    assert_eq!(is_good, output.contains("Good"), "{output}");
    is_good
}

#[test]
fn ssh_keygen_reads_our_keys_and_verifies_our_signatures() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = SignKey::generate("hyprbox");
    let path = folder.path().join("sign.key");
    write_private(&path, &key.to_file());
    let (read, public) = run("ssh-keygen", &["-y", "-f", text(&path)], b"");
    assert!(read, "{public}");
    assert_eq!(public.trim(), format!("{} hyprbox", key.public().to_line()));
    let (_, listed) = run("ssh-keygen", &["-lf", text(&path)], b"");
    assert!(listed.contains(&key.public().fingerprint()), "{listed}");
    let again = SignKey::parse(&key.to_file()).expect("parses");
    assert_eq!(again.public(), key.public());
    assert_eq!(again.comment(), "hyprbox");

    let signature = key.sign(JOB_NAMESPACE, MESSAGE);
    let signers = format!("server {}\n", key.public().to_line());
    let check = |message: &[u8]| verifies(folder.path(), &signers, "server", &signature, message);
    assert!(check(MESSAGE));
    assert!(!check(b"another message"));
}

#[test]
fn signatures_of_ssh_keygen_verify_here_for_each_kind_of_key() {
    for (kind, name) in [("ed25519", KeyKind::Ed25519), ("ecdsa", KeyKind::EcdsaP256)] {
        // Numbers of ECDSA have several lengths, so several signatures.
        for _ in 0..if kind == "ecdsa" { 24 } else { 1 } {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("id");
            let args = [
                "-q",
                "-t",
                kind,
                "-b",
                "256",
                "-N",
                "",
                "-C",
                "ada@example.org",
                "-f",
                text(&path),
            ];
            let (made, output) = run("ssh-keygen", &args, b"");
            assert!(made, "{output}");
            let line = std::fs::read_to_string(path.with_extension("pub")).expect("reads");
            let (key, comment) = PublicKey::parse_line(&line).expect("a key");
            assert_eq!((key.kind(), comment), (name, "ada@example.org"));
            let args = ["-Y", "sign", "-q", "-n", JOB_NAMESPACE, "-f", text(&path)];
            let (signed, armored) = run("ssh-keygen", &args, MESSAGE);
            assert!(signed, "{armored}");
            let signature = SshSignature::parse(&armored).expect("parses");
            assert_eq!(signature.to_armored(), armored);
            assert_eq!(signature.key(), &key);
            signature.verify(JOB_NAMESPACE, MESSAGE).expect("verifies");
            assert!(signature.verify(JOB_NAMESPACE, b"other").is_err());
            assert!(signature.verify("file", MESSAGE).is_err());
            let file = std::fs::read_to_string(&path).expect("reads");
            assert_eq!(SignKey::parse(&file).is_ok(), kind == "ed25519");
        }
    }
}

#[test]
fn a_key_with_a_passphrase_signs_through_ssh_agent() {
    let folder = tempfile::tempdir().expect("a folder");
    let (socket, path) = (folder.path().join("socket"), folder.path().join("id"));
    let args = [
        "-q",
        "-t",
        "ed25519",
        "-N",
        "a passphrase",
        "-C",
        "ada",
        "-f",
        text(&path),
    ];
    assert!(run("ssh-keygen", &args, b"").0);
    let file = std::fs::read_to_string(&path).expect("reads");
    let refused = SignKey::parse(&file).expect_err("it is encrypted");
    assert!(refused.to_string().contains("ssh-add"), "{refused}");
    let mut agent = Command::new("ssh-agent")
        .args(["-D", "-a", text(&socket)])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("ssh-agent");
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        assert!(agent.try_wait().expect("asks").is_none(), "ssh-agent ended");
        std::thread::yield_now();
    }
    let help = folder.path().join("askpass");
    std::fs::write(&help, "#!/bin/sh\necho 'a passphrase'\n").expect("writes");
    std::fs::set_permissions(&help, std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .expect("sets");
    let added = Command::new("ssh-add")
        .arg(&path)
        .env("SSH_AUTH_SOCK", &socket)
        .env("SSH_ASKPASS", &help)
        .env("SSH_ASKPASS_REQUIRE", "force")
        .stderr(Stdio::null())
        .status()
        .expect("ssh-add");
    assert!(added.success());
    let mut client = SshAgent::connect(&socket).expect("connects");
    let keys = client.keys().expect("lists");
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].comment, "ada");
    let signature = client
        .sign(&keys[0].key, JOB_NAMESPACE, MESSAGE)
        .expect("signs");
    let stranger = SignKey::generate("");
    assert!(
        client
            .sign(stranger.public(), JOB_NAMESPACE, MESSAGE)
            .is_err()
    );
    agent.kill().expect("ends");
    agent.wait().expect("ends");
    let signers = format!(
        "ada namespaces=\"{JOB_NAMESPACE}\" {}\n",
        keys[0].key.to_line()
    );
    assert!(verifies(
        folder.path(),
        &signers,
        "ada",
        &signature,
        MESSAGE
    ));
    let (list, faults) = Signers::parse(&signers);
    assert!(faults.is_empty());
    assert!(list.find(&keys[0].key, JOB_NAMESPACE, 0).is_some());
    assert!(list.find(&keys[0].key, "file", 0).is_none());
}

#[test]
fn lists_of_signers_mean_what_ssh_keygen_takes_them_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = SignKey::generate("");
    let line = key.public().to_line();
    let signature = key.sign(JOB_NAMESPACE, MESSAGE);
    for (options, counts) in [
        ("".to_owned(), true),
        (format!("namespaces=\"{JOB_NAMESPACE}\" "), true),
        ("namespaces=\"git,hyprbox-*\" ".to_owned(), true),
        ("namespaces=\"git\" ".to_owned(), false),
        (
            "valid-after=\"20200101Z\",valid-before=\"20990101Z\" ".to_owned(),
            true,
        ),
        ("valid-before=\"20200101Z\" ".to_owned(), false),
        ("valid-after=\"20990101000000Z\" ".to_owned(), false),
        ("cert-authority ".to_owned(), false),
        ("no-such-option ".to_owned(), false),
    ] {
        let list = format!("# people\n\nada {options}{line} a comment\n");
        let theirs = verifies(folder.path(), &list, "ada", &signature, MESSAGE);
        let (signers, faults) = Signers::parse(&list);
        // 2027: between the dates above.
        let ours = signers
            .find(key.public(), JOB_NAMESPACE, 1_800_000_000_000)
            .is_some();
        assert_eq!((theirs, ours), (counts, counts), "{options}");
        assert_eq!(faults.len(), usize::from(signers.is_empty()), "{options}");
    }
}
