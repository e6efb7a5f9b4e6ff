//! Reads a certificate's expiry date, which rustls does not expose.

use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::clock::Timestamp;

/// Expiry date of a certificate in DER; `None` if `der` is not a certificate.
pub(crate) fn not_after(der: &[u8]) -> Option<Timestamp> {
    let certificate = Certificate::from_der(der).ok()?;
    let not_after = certificate.tbs_certificate().validity().not_after;
    let millis = not_after.to_unix_duration().as_millis();
    Some(Timestamp::from_millis(i64::try_from(millis).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(year: i32, month: u8, day: u8) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(vec!["x".repeat(200)]).expect("params");
        params.not_before = rcgen::date_time_ymd(1980, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, month, day);
        let key = rcgen::KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("signs").der().to_vec()
    }

    #[test]
    fn both_kinds_of_time_are_read() {
        for (year, month, day, text) in [
            (1999, 12, 31, "1999-12-31T00:00:00.000Z"),
            (2026, 11, 24, "2026-11-24T00:00:00.000Z"),
            (2049, 1, 1, "2049-01-01T00:00:00.000Z"),
            (2999, 2, 3, "2999-02-03T00:00:00.000Z"),
        ] {
            let at = not_after(&made(year, month, day));
            assert_eq!(at, text.parse().ok(), "{text}");
        }
    }

    #[test]
    fn damaged_certificates_never_panic() {
        let whole = made(2026, 11, 24);
        for length in 0..whole.len() {
            assert_eq!(not_after(&whole[..length]), None, "{length}");
        }
        for at in 0..whole.len() {
            for change in [0x00, 0x7f, 0x80, 0x84, 0xff] {
                let mut changed = whole.clone();
                changed[at] = change;
                let _any = not_after(&changed);
            }
        }
    }
}
