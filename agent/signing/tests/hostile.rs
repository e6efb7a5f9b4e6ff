//! Random and altered input is refused, and nothing panics.
//!
//! `HYPRBOX_TEST_CASES` is the number of random cases (2,000 by default).

use hyprbox_signing::{
    Envelope, EnvelopeError, JOB_NAMESPACE, KeyChange, PublicKey, ROTATION_NAMESPACE, SignKey,
    SignedKeyChange, Signers, SshSignature, StandingEnvelope, millis_of_rfc3339, secrets_digest,
};
use proptest::prelude::*;
use ring::digest::{SHA256, digest};
use ring::signature::{Ed25519KeyPair, KeyPair};

fn cases() -> u32 {
    let given = std::env::var("HYPRBOX_TEST_CASES").ok();
    given.map_or(2_000, |text| text.parse().expect("a number of cases"))
}

fn envelope() -> Envelope {
    Envelope {
        v: 1,
        server: "0197-server".to_owned(),
        job: "0197-job".to_owned(),
        node: "web-1".to_owned(),
        preset: "server-light".to_owned(),
        kind: "apply".to_owned(),
        script_sha256: "ab".repeat(32),
        timeout_seconds: 600,
        secrets_digest: None,
        created_at: "2026-11-24T09:30:00.123Z".to_owned(),
        expires_at: None,
        by: "ada@example.org".to_owned(),
    }
}

fn standing() -> StandingEnvelope {
    StandingEnvelope {
        v: 1,
        server: "0197-server".to_owned(),
        schedule: "0197-schedule".to_owned(),
        preset: "server-light".to_owned(),
        script_sha256: "ab".repeat(32),
        nodes: vec!["web-1".to_owned(), "web-2".to_owned()],
        from: "2026-11-24T09:30:00.123Z".to_owned(),
        until: "2027-11-24T09:30:00.123Z".to_owned(),
        max_per_day: 2,
    }
}

/// Everything that reads foreign input.
fn read_all(text: &str) {
    let _ = SshSignature::parse(text).map(|read| read.verify(JOB_NAMESPACE, b"x"));
    let _ = SignKey::parse(text);
    let _ = PublicKey::parse_line(text);
    let _ = Signers::parse(text);
    let _ = Signers::parse_keys(text);
    let _ = Envelope::parse(text);
    let _ = StandingEnvelope::parse(text);
    let _ = millis_of_rfc3339(text);
    let change = SignedKeyChange {
        statement: text.to_owned(),
        signature: text.to_owned(),
    };
    let _ = change.verify();
}

fn armored(kind: &str, blob: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(blob);
    let lines: Vec<&str> = body
        .as_bytes()
        .chunks(70)
        .map(|line| std::str::from_utf8(line).expect("base64"))
        .collect();
    format!(
        "-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n",
        lines.join("\n")
    )
}

fn dearmored(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    base64::engine::general_purpose::STANDARD
        .decode(body)
        .expect("base64")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) })]

    #[test]
    fn no_input_makes_a_parser_panic(
        text in any::<String>(),
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        which in 0..6_usize,
    ) {
        read_all(&text);
        for kind in ["SSH SIGNATURE", "OPENSSH PRIVATE KEY"] {
            read_all(&armored(kind, &bytes));
        }
        // Near misses reach deeper than random bytes.
        let key = SignKey::parse(KEY).expect("a key");
        let mut valid = match which {
            0 => dearmored(&key.sign(JOB_NAMESPACE, b"x")),
            1 => dearmored(&key.to_file()),
            2 => envelope().to_json().into_bytes(),
            5 => standing().to_json().into_bytes(),
            3 => format!("ada namespaces=\"a,b\",valid-after=\"20260101Z\" {}", key.public().to_line()).into_bytes(),
            _ => key.sign(JOB_NAMESPACE, b"x").into_bytes(),
        };
        for (at, byte) in changes {
            let at = at.index(valid.len());
            valid[at] = byte;
        }
        valid.truncate(cut.index(valid.len() * 3) + 1);
        match which {
            0 => read_all(&armored("SSH SIGNATURE", &valid)),
            1 => read_all(&armored("OPENSSH PRIVATE KEY", &valid)),
            _ => read_all(&String::from_utf8_lossy(&valid)),
        }
    }
}

/// A key that protects nothing.
const KEY: &str = "-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
QyNTUxOQAAACAXj2wOxDOvg/PzhHnugVlE2xHwqnpXd5ETrAQGSraHQwAAAIh4+dvcePnb
3AAAAAtzc2gtZWQyNTUxOQAAACAXj2wOxDOvg/PzhHnugVlE2xHwqnpXd5ETrAQGSraHQw
AAAEDQu9dLuzzIXqdurygEuxuiC2cN5FERhwwnHhOpuEBC/BePbA7EM6+D8/OEee6BWUTb
EfCqeld3kROsBAZKtodDAAAABHRlc3QB
-----END OPENSSH PRIVATE KEY-----
";

#[test]
fn each_altered_byte_of_envelope_and_signature_is_refused() {
    for json in [envelope().to_json(), standing().to_json()] {
        refuses_each_altered_byte(&json);
    }
}

fn refuses_each_altered_byte(json: &str) {
    let key = SignKey::generate("");
    let signature = key.sign(JOB_NAMESPACE, json.as_bytes());
    let accepts = |signature: &str, message: &[u8]| {
        SshSignature::parse(signature).is_ok_and(|read| {
            read.key() == key.public() && read.verify(JOB_NAMESPACE, message).is_ok()
        })
    };
    assert!(accepts(&signature, json.as_bytes()));
    assert!(accepts(signature.trim_end(), json.as_bytes()));
    for mask in [1, 0x20, 0x80] {
        for at in 0..json.len() {
            let mut altered = json.as_bytes().to_vec();
            altered[at] ^= mask;
            assert!(!accepts(&signature, &altered), "byte {at} of the envelope");
        }
        for at in 0..signature.len() {
            let mut altered = signature.clone().into_bytes();
            altered[at] ^= mask;
            let altered = String::from_utf8_lossy(&altered).into_owned();
            assert!(
                !accepts(&altered, json.as_bytes()),
                "byte {at} of the signature"
            );
        }
        let blob = dearmored(&signature);
        for at in 0..blob.len() {
            let mut altered = blob.clone();
            altered[at] ^= mask;
            let altered = armored("SSH SIGNATURE", &altered);
            assert!(
                !accepts(&altered, json.as_bytes()),
                "byte {at} of the binary signature"
            );
        }
    }
    for tail in ["\n", " ", "x", "\u{b}"] {
        assert!(!accepts(&format!("{signature}{tail}"), json.as_bytes()));
    }
}

#[test]
fn an_envelope_is_one_line_with_its_fields_in_order() {
    let json = envelope().to_json();
    assert_eq!(
        json,
        format!(
            "{{\"v\":1,\"server\":\"0197-server\",\"job\":\"0197-job\",\"node\":\"web-1\",\"preset\":\"server-light\",\
             \"kind\":\"apply\",\"scriptSha256\":\"{}\",\"timeoutSeconds\":600,\"secretsDigest\":null,\
             \"createdAt\":\"2026-11-24T09:30:00.123Z\",\"expiresAt\":null,\"by\":\"ada@example.org\"}}",
            "ab".repeat(32)
        )
    );
    assert_eq!(Envelope::parse(&json), Ok(envelope()));
    let later = json.replacen("\"v\":1", "\"v\":2,\"more\":true", 1);
    assert_eq!(Envelope::parse(&later), Err(EnvelopeError::Version(2)));
    for wrong in [
        json.replacen("\"v\":1,", "", 1),
        json.replacen("\"v\":1", "\"v\":1,\"v\":1", 1),
        json.replacen("\"kind\"", "\"more\":1,\"kind\"", 1),
        json.replacen("600", "-1", 1),
        format!("{json}x"),
        "null".to_owned(),
    ] {
        assert_eq!(
            Envelope::parse(&wrong),
            Err(EnvelopeError::Malformed),
            "{wrong}"
        );
    }
}

#[test]
fn no_envelope_is_also_a_standing_one() {
    let (one, other) = (envelope().to_json(), standing().to_json());
    assert_eq!(
        other,
        format!(
            "{{\"v\":1,\"server\":\"0197-server\",\"schedule\":\"0197-schedule\",\"preset\":\"server-light\",\
             \"scriptSha256\":\"{}\",\"nodes\":[\"web-1\",\"web-2\"],\"from\":\"2026-11-24T09:30:00.123Z\",\
             \"until\":\"2027-11-24T09:30:00.123Z\",\"maxPerDay\":2}}",
            "ab".repeat(32)
        )
    );
    assert_eq!(StandingEnvelope::parse(&other), Ok(standing()));
    assert_eq!(Envelope::parse(&other), Err(EnvelopeError::Malformed));
    assert_eq!(StandingEnvelope::parse(&one), Err(EnvelopeError::Malformed));
}

#[test]
fn a_security_keys_signature_counts_only_with_a_touch() {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
    let mut blob = Vec::new();
    let put = |out: &mut Vec<u8>, bytes: &[u8]| {
        out.extend_from_slice(&u32::try_from(bytes.len()).expect("short").to_be_bytes());
        out.extend_from_slice(bytes);
    };
    put(&mut blob, b"sk-ssh-ed25519@openssh.com");
    put(&mut blob, pair.public_key().as_ref());
    put(&mut blob, b"ssh:");
    let key = PublicKey::from_blob(&blob).expect("a key");
    // What a security key does: PROTOCOL.u2f.
    let sign = |flags: u8| {
        let data = hyprbox_signing::data_to_sign(JOB_NAMESPACE, b"x");
        let mut signed = digest(&SHA256, b"ssh:").as_ref().to_vec();
        signed.push(flags);
        signed.extend_from_slice(&9_u32.to_be_bytes());
        signed.extend_from_slice(digest(&SHA256, &data).as_ref());
        let mut raw = Vec::new();
        put(&mut raw, b"sk-ssh-ed25519@openssh.com");
        put(&mut raw, pair.sign(&signed).as_ref());
        raw.push(flags);
        raw.extend_from_slice(&9_u32.to_be_bytes());
        let armored = hyprbox_signing::armor(&key, JOB_NAMESPACE, raw);
        SshSignature::parse(&armored)
            .expect("parses")
            .verify(JOB_NAMESPACE, b"x")
    };
    assert_eq!(sign(1), Ok(()));
    assert_eq!(sign(5), Ok(()));
    assert_eq!(sign(0), Err(hyprbox_signing::SignatureError::NoPresence));
    assert_eq!(sign(4), Err(hyprbox_signing::SignatureError::NoPresence));
}

#[test]
fn a_key_names_its_successor_by_its_own_signature_only() {
    let (old, new, thief) = (
        SignKey::generate(""),
        SignKey::generate(""),
        SignKey::generate(""),
    );
    let change = KeyChange {
        v: 1,
        server: "s".to_owned(),
        from: old.public().to_line(),
        to: new.public().to_line(),
        at: "2026-11-24T09:30:00.123Z".to_owned(),
    };
    let signed = |by: &SignKey, namespace: &str| SignedKeyChange {
        statement: change.to_json(),
        signature: by.sign(namespace, change.to_json().as_bytes()),
    };
    let (from, to, at) = signed(&old, ROTATION_NAMESPACE).verify().expect("verifies");
    assert_eq!(
        (&from, &to, at),
        (old.public(), new.public(), 1_795_512_600_123)
    );
    assert_eq!(signed(&thief, ROTATION_NAMESPACE).verify(), None);
    assert_eq!(signed(&new, ROTATION_NAMESPACE).verify(), None);
    assert_eq!(
        signed(&old, JOB_NAMESPACE).verify(),
        None,
        "a job's signature names nobody"
    );
}

#[test]
fn the_digest_of_secrets_depends_on_names_values_and_nonce() {
    let secrets = |pairs: &[(&str, &str)]| {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        pairs.collect()
    };
    let two = secrets(&[("b", "2"), ("a", "1\"")]);
    let mut bytes = vec![3; 32];
    bytes.extend_from_slice(br#"{"a":"1\"","b":"2"}"#);
    let hex: String = digest(&SHA256, &bytes)
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(secrets_digest(&[3; 32], &two), hex);
    assert_ne!(secrets_digest(&[4; 32], &two), hex);
    assert_ne!(
        secrets_digest(&[3; 32], &secrets(&[("a", "1\""), ("b", "3")])),
        hex
    );
}
