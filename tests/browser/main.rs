//! The dashboard in a real browser: headless Chromium, driven over WebDriver, against the real server. It stands on the
//! same harness as `tests/it`. Screenshots are kept in `tests/output/`, for people to look at.
#![cfg(target_os = "linux")]

mod browser;
mod driver;
mod first_minutes;
mod fleet;
mod forms;
#[path = "../it/harness/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "the other suite needs more of it than this one"
)]
mod harness;
mod hostile;
mod keyboard;
mod live;
mod long_log;
mod looks;
mod no_script;
mod sign_in;
mod speed;
mod steps;
mod tabs;
