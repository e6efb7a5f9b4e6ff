//! The dashboard's scripts on the same tables of cases that `src/dashboard/words.rs` and
//! `src/jobs/log/steps.rs` pass.

use serde_json::{Value, json};

use crate::browser::on_a_running_job;

/// The words for each case of a list of `[milliseconds, words]`.
fn words(cases: &Value) -> Vec<&Value> {
    let cases = cases.as_array().expect("a list").iter();
    cases.map(|case| &case[1]).collect()
}

/// A step of the table as its row shows it: a step that was skipped or still runs shows no time.
fn shown(step: &Value) -> Value {
    let took = match (step[2].as_str(), step[3].as_u64()) {
        (Some("already done"), _) | (_, None) => String::new(),
        (_, Some(seconds @ ..60)) if seconds >= 10 => format!("about {seconds} s"),
        (_, Some(seconds @ ..10)) => format!("about {seconds}.0 s"),
        (_, Some(seconds)) => format!("about 1 min {} s", seconds - 60),
    };
    json!([step[0], step[1], step[2], took])
}

#[test]
fn scripts_agree_with_the_server_on_times_and_steps() {
    let (_server, _admin, _agent, id, browser) = on_a_running_job();
    browser.open(&format!("/jobs/{id}"));
    let mut cases: Value = serde_json::from_str(include_str!("../cases/times.json")).expect("JSON");
    cases["steps"] = serde_json::from_str(include_str!("../cases/steps.json")).expect("JSON");
    let script = include_str!("cases.js");
    let given = browser.js(&format!(
        "(async () => {{ const CASES = {cases}; {script} }})()"
    ));
    assert_eq!(given["span"], json!(words(&cases["span"])));
    assert_eq!(given["ago"], json!(words(&cases["ago"])));
    assert_eq!(given["ahead"], json!(words(&cases["ahead"])));
    assert_eq!(given["left"], json!(words(&cases["left"])));
    for (case, given) in cases["steps"]
        .as_array()
        .expect("a list")
        .iter()
        .zip(given["steps"].as_array().expect("a list"))
    {
        let steps = case["steps"].as_array().expect("a list").iter();
        let steps: Vec<_> = steps.map(shown).collect();
        assert_eq!(given, &json!(steps), "{}", case["about"]);
    }
}
