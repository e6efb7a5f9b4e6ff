//! A clock that a test sets. On SQLite it is the server's, by a library that is loaded before
//! libc. On PostgreSQL it is the database's, which counts for due times there, by a function that
//! hides the one of PostgreSQL.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use crate::harness::{Database, Server, Setup, unix_time, write_file};

/// Adds the milliseconds in a file to the time of day, and to no other clock.
const LIBRARY: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int64_t step(void) {
    static volatile int64_t *file;
    if (!file) {
        int fd = open(getenv("STEPPED_CLOCK"), O_RDONLY);
        void *bytes = mmap(0, sizeof *file, PROT_READ, MAP_SHARED, fd, 0);
        close(fd);
        if (bytes == MAP_FAILED)
            abort();
        file = bytes;
    }
    return *file;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    int failed = syscall(SYS_clock_gettime, clock, at);
    if (!failed && clock == CLOCK_REALTIME) {
        int64_t ms = at->tv_nsec / 1000000 + step();
        int64_t seconds = ms / 1000 - (ms % 1000 < 0);
        at->tv_nsec = (ms - seconds * 1000) * 1000000 + at->tv_nsec % 1000000;
        at->tv_sec += seconds;
    }
    return failed;
}
"#;

/// The clock that counts for a server's due times.
pub(crate) struct SteppedClock {
    database: Database,
    /// The step in milliseconds, for the library.
    file: PathBuf,
    by_ms: i64,
}

impl SteppedClock {
    /// Starts a server with such a clock, which shows the machine's time.
    pub(crate) fn start(setup: Setup) -> (Self, Server) {
        let file = setup.folder().join("step");
        let clock = Self {
            database: setup.database(),
            file,
            by_ms: 0,
        };
        let setup = match clock.database.sqlite() {
            Some(_) => clock.preload(setup),
            None => {
                clock.hide_the_databases();
                setup
            }
        };
        (clock, setup.start())
    }

    fn preload(&self, setup: Setup) -> Setup {
        let (source, library) = (
            setup.folder().join("step.c"),
            setup.folder().join("step.so"),
        );
        write_file(&source, LIBRARY, 0o600);
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .args([&library, &source])
            .status();
        assert!(built.expect("cc runs").success());
        std::fs::write(&self.file, self.by_ms.to_ne_bytes()).expect("writes");
        let text = |path: &PathBuf| path.to_str().expect("UTF-8").to_owned();
        setup
            .with("LD_PRELOAD", &text(&library))
            .with("STEPPED_CLOCK", &text(&self.file))
    }

    fn hide_the_databases(&self) {
        for statement in [
            "CREATE SCHEMA stepped",
            "CREATE TABLE stepped.clock (by_ms BIGINT NOT NULL)",
            "INSERT INTO stepped.clock VALUES (0)",
            "CREATE FUNCTION stepped.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
             'SELECT pg_catalog.clock_timestamp() + by_ms * INTERVAL ''1 millisecond'' FROM stepped.clock'",
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = public, stepped, pg_catalog', current_database()); END $$",
        ] {
            self.database.execute(statement);
        }
    }

    /// The time that it shows, in milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> i64 {
        machine_ms() + self.by_ms
    }

    /// Sets it to this time.
    pub(crate) fn set_ms(&mut self, at_ms: i64) {
        self.step_ms(at_ms - self.now_ms());
    }

    /// Sets it forward, or back.
    pub(crate) fn step_ms(&mut self, by_ms: i64) {
        self.by_ms += by_ms;
        if self.database.sqlite().is_some() {
            // In place: the server has mapped the file.
            let mut file = OpenOptions::new().write(true).open(&self.file);
            let file = file.as_mut().expect("opens");
            file.write_all(&self.by_ms.to_ne_bytes()).expect("writes");
        } else {
            let by_ms = self.by_ms;
            self.database
                .execute(&format!("UPDATE stepped.clock SET by_ms = {by_ms}"));
        }
    }
}

fn machine_ms() -> i64 {
    i64::try_from(unix_time().as_millis()).expect("this age")
}
