//! Standing envelopes: a person has signed in advance what a schedule runs on this node, from when,
//! until when and how often a day. The agent counts by itself, so that the server can't run the
//! script more often.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use hyprbox_protocol::{ClaimedJob, Refusal};
use hyprbox_signing::{Envelope, EnvelopeError, JOB_NAMESPACE, Signers, StandingEnvelope};

use super::{Denial, parse, refused, time, verify};
use crate::state::replace_file;
use crate::trusted_dir;

const DAY_MS: i64 = 24 * 3_600 * 1_000;

/// Checks that a signer has signed the job's schedule in advance. The caller must still count the
/// job.
pub(super) fn check(
    job: &ClaimedJob,
    envelope: &Envelope,
    node_id: &str,
    signers: &Signers,
    now: i64,
) -> Result<StandingEnvelope, Denial> {
    let (Some(json), Some(armored)) = (&job.standing_envelope, &job.standing_signature) else {
        return Err(refused(
            Refusal::Unsigned,
            "this node runs only jobs that one of its signers has signed, and nobody has signed this one",
        ));
    };
    let whose = "the standing envelope's signature";
    let signature = parse(armored, whose)?;
    if signers.find(signature.key(), JOB_NAMESPACE, now).is_none() {
        return Err(refused(
            Refusal::Signer,
            format!(
                "the key {} that signed the standing envelope is not one of this node's signers, or not valid now",
                signature.key().fingerprint()
            ),
        ));
    }
    verify(&signature, json, whose)?;
    let standing = StandingEnvelope::parse(json).map_err(|error| match error {
        EnvelopeError::Version(_) => refused(
            Refusal::Version,
            format!("{error}: upgrade the agent of this node"),
        ),
        EnvelopeError::Malformed => {
            refused(Refusal::Malformed, "the standing envelope can't be read")
        }
    })?;
    check_subject(&standing, envelope, node_id)?;
    check_time(&standing, now)?;
    Ok(standing)
}

fn check_subject(
    standing: &StandingEnvelope,
    envelope: &Envelope,
    node_id: &str,
) -> Result<(), Denial> {
    if !standing.nodes.iter().any(|node| node == node_id) {
        let because = "the standing envelope does not name this node";
        return Err(refused(Refusal::Node, because));
    }
    if standing.script_sha256 != envelope.script_sha256 {
        let because = "the standing envelope is for another script";
        return Err(refused(Refusal::Script, because));
    }
    let differs = if standing.server != envelope.server {
        "server"
    } else if standing.preset != envelope.preset {
        "preset"
    } else {
        return Ok(());
    };
    Err(refused(
        Refusal::Job,
        format!("the standing envelope is for another {differs}"),
    ))
}

fn check_time(standing: &StandingEnvelope, now: i64) -> Result<(), Denial> {
    let (from, until) = (time(&standing.from)?, time(&standing.until)?);
    let because = if now < from {
        format!("the standing envelope counts only from {}", standing.from)
    } else if now >= until {
        format!("the standing envelope has ended at {}", standing.until)
    } else {
        return Ok(());
    };
    Err(refused(Refusal::Limit, because))
}

/// How often this node has used standing envelopes today.
pub(super) struct StandingUses {
    path: PathBuf,
}

/// The start of a job that a standing envelope covers.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Use {
    /// Days since 1970 in UTC.
    day: i64,
    schedule: String,
    job: String,
}

impl StandingUses {
    pub(super) fn of(state: &Path) -> Self {
        Self {
            path: state.join("standing-uses"),
        }
    }

    /// Counts the job durably, before it starts. A job that arrives again counts once. `now` is the
    /// later of the clock and the latest time seen, so that a clock that is set back frees no use.
    pub(super) fn count(
        &self,
        standing: &StandingEnvelope,
        job: &str,
        now: i64,
    ) -> Result<(), Denial> {
        let day = now.div_euclid(DAY_MS);
        let problem = |error: io::Error| {
            Denial::Problem(format!(
                "the uses of standing envelopes in {} can't be counted: {error}",
                self.path.display()
            ))
        };
        let mut uses = self.read().map_err(problem)?;
        uses.retain(|used| used.day >= day);
        let is_same = |used: &&Use| used.schedule == standing.schedule;
        if uses.iter().filter(is_same).any(|used| used.job == job) {
            return Ok(());
        }
        let count = uses.iter().filter(is_same).count() as u64;
        if count >= standing.max_per_day {
            return Err(refused(
                Refusal::Limit,
                format!(
                    "the standing envelope allows {} jobs a day (UTC) on this node, and {count} have run",
                    standing.max_per_day
                ),
            ));
        }
        uses.push(Use {
            day,
            schedule: standing.schedule.clone(),
            job: job.to_owned(),
        });
        self.write(&uses).map_err(problem)
    }

    fn read(&self) -> io::Result<Vec<Use>> {
        let text = match trusted_dir::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a line can't be read");
        String::from_utf8_lossy(&text)
            .lines()
            .map(|line| parse_use(line).ok_or_else(damaged))
            .collect()
    }

    fn write(&self, uses: &[Use]) -> io::Result<()> {
        let mut text = String::new();
        for used in uses {
            let _written = writeln!(text, "{} {} {}", used.day, used.job, used.schedule);
        }
        replace_file(&self.path, text.as_bytes())
    }
}

/// `20787 JOB SCHEDULE`. The schedule's id is whatever was signed.
fn parse_use(line: &str) -> Option<Use> {
    let mut fields = line.splitn(3, ' ');
    Some(Use {
        day: fields.next()?.parse().ok()?,
        job: fields.next()?.to_owned(),
        schedule: fields.next()?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(schedule: &str, max_per_day: u64) -> StandingEnvelope {
        StandingEnvelope {
            v: 1,
            server: "s".to_owned(),
            schedule: schedule.to_owned(),
            preset: "p".to_owned(),
            script_sha256: "ab".repeat(32),
            nodes: vec!["n1".to_owned()],
            from: "2026-01-01T00:00:00.000Z".to_owned(),
            until: "2027-01-01T00:00:00.000Z".to_owned(),
            max_per_day,
        }
    }

    #[test]
    fn uses_are_counted_by_day_and_schedule_and_survive_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let uses = || StandingUses::of(folder.path());
        let two = standing("a", 2);
        let is_limit = |counted: Result<(), Denial>| {
            matches!(counted, Err(Denial::Refused(Refusal::Limit, _)))
        };
        assert_eq!(uses().count(&two, "j1", 5), Ok(()));
        assert_eq!(uses().count(&two, "j1", 6), Ok(()), "it counts once");
        assert_eq!(uses().count(&two, "j2", DAY_MS - 1), Ok(()));
        assert!(is_limit(uses().count(&two, "j3", DAY_MS - 1)));
        // The same schedule with another limit.
        assert_eq!(uses().count(&standing("a", 3), "j3", 9), Ok(()));
        assert_eq!(uses().count(&standing("b", 1), "j4", 9), Ok(()));
        assert!(is_limit(uses().count(&standing("c", 0), "j5", 9)));
        assert_eq!(uses().count(&two, "j6", DAY_MS), Ok(()), "a new day");
        // A day that has begun counts on, if the clock is set back.
        assert_eq!(uses().count(&two, "j7", 5), Ok(()));
        assert!(is_limit(uses().count(&two, "j8", 5)));
        std::fs::write(folder.path().join("standing-uses"), "x\n").expect("writes");
        let damaged = uses().count(&two, "j9", 5);
        assert!(matches!(damaged, Err(Denial::Problem(_))), "{damaged:?}");
    }
}
