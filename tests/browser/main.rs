//! The dashboard in a real browser: headless Chromium, driven over WebDriver, against the real
//! server. It stands on the same harness as `tests/it`. Screenshots are kept in `tests/output/`,
//! for people to look at.
#![cfg(target_os = "linux")]
#![allow(
    clippy::print_stderr,
    reason = "a test that fails shows what the programs logged"
)]

extern crate hyprbox_testkit as harness;

mod announcements;
mod browser;
mod cases;
mod channels;
mod drift;
mod driver;
mod export;
mod first_minutes;
mod first_run;
mod fleet;
mod forms;
mod hostile;
mod job_page;
mod keyboard;
mod lists;
mod live;
mod long_log;
mod looks;
mod no_script;
mod palette;
mod presets;
mod readme;
mod run_fleet;
mod runs;
mod saved_form;
mod schedules;

mod sign_in;
mod speed;
mod steps;
mod tabs;
mod team;
mod tour;
