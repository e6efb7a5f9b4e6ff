//! Viewers of one job's live stream: many, slow ones, and those that ask for times.

use std::io::Read as _;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::harness::{Event, Field, PATIENCE, Server, bytes_chunk, chunk, eventually, with_node};
use crate::stream::{Received, open, ready_on, statuses};

#[test]
fn a_slow_viewer_delays_nobody_and_skips_ahead() {
    const PARTS: u64 = 40;
    let (server, admin, agent) = ready_on(Server::with(&[("HYPRBOX_STDOUT_MAX_BYTES", "262144")]));
    let id = admin.queue("n1");
    agent.claim();
    let mut slow = std::net::TcpStream::connect(server.address()).expect("connects");
    slow.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    let request = format!(
        "GET /api/jobs/{id}/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        admin.token
    );
    std::io::Write::write_all(&mut slow, request.as_bytes()).expect("writes");
    eventually("the slow viewer to connect", || {
        (agent.output(&id, &[])["flushMs"] == 50).then_some(())
    });
    let mut quick = open(&admin, &id);
    quick.until(|event| event.name == "status");
    let part = "0123456789abcdef".repeat(65_536);
    let size = part.len() as u64;
    // Far more than the sockets and queues in between can hold.
    let reading = std::thread::spawn(move || {
        let mut received = Received::default();
        while received.stdout.end < PARTS * size {
            received.push(&quick.next());
        }
        quick.until_done();
    });
    for number in 0..PARTS {
        agent.say(&id, number * size, &part);
    }
    agent.succeed(&id);
    reading.join().expect("the quick viewer received the end");

    let mut bytes = Vec::new();
    slow.read_to_end(&mut bytes).expect("a clean end");
    let text = String::from_utf8_lossy(&bytes);
    assert!(
        text.contains("event: done"),
        "the slow one gets the end, too"
    );
    assert!(
        (bytes.len() as u64) < PARTS * size / 2,
        "it got {} bytes: everything was held for it",
        bytes.len()
    );
}

#[test]
fn many_viewers_receive_the_same() {
    let (_server, admin, agent) = with_node();
    let id = admin.queue("n1");
    agent.claim();
    let viewers: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = open(&admin, &id);
            std::thread::spawn(move || Received::of(&stream.until_done()))
        })
        .collect();
    let mut offset = 0;
    for number in 0..200 {
        let text = format!("line {number}\n");
        agent.say(&id, offset, &text);
        offset += text.len() as u64;
    }
    agent.succeed(&id);
    let kept = String::from_utf8(admin.log(&id, "stdout")).expect("UTF-8");
    for viewer in viewers {
        let received = viewer.join().expect("received");
        assert_eq!(
            (received.stdout.text.as_str(), received.stdout.end),
            (kept.as_str(), offset)
        );
        assert_eq!(received.stdout.gaps, []);
    }
}

#[test]
fn a_crowd_that_joins_while_a_job_writes_misses_nothing() {
    let (_server, admin, agent) = with_node();
    let id = admin.queue("n1");
    agent.claim();
    let all_are_there = AtomicBool::new(false);
    let (stdout, viewers) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut stdout = String::new();
            for number in 0.. {
                let text = format!("caf\u{e9} {number}\n");
                let at = stdout.len() as u64;
                // The character is split, and the other stream comes between its bytes.
                let (head, tail) = text.as_bytes().split_at(4);
                agent.output(
                    &id,
                    &[
                        bytes_chunk("stdout", at, head),
                        chunk("stderr", number, "!"),
                        bytes_chunk("stdout", at + 4, tail),
                    ],
                );
                stdout.push_str(&text);
                if all_are_there.load(Ordering::Relaxed) {
                    break;
                }
            }
            agent.succeed(&id);
            stdout
        });
        let viewers: Vec<_> = (0..60)
            .map(|_| {
                let mut stream = open(&admin, &id);
                std::thread::spawn(move || stream.until_done())
            })
            .collect();
        all_are_there.store(true, Ordering::Relaxed);
        (writer.join().expect("written"), viewers)
    });
    for viewer in viewers {
        let events = viewer.join().expect("received");
        assert_eq!(
            (events[0].name.as_str(), statuses(&events)),
            ("status", vec!["RUNNING".to_owned()])
        );
        let received = Received::of(&events);
        assert_eq!(received.stdout.text, stdout);
        assert_eq!(received.stderr.end, stdout.lines().count() as u64);
        assert_eq!(
            (received.stdout.gaps, received.stderr.gaps),
            (vec![], vec![])
        );
    }
}

#[test]
fn times_and_lines_are_sent_on_request() {
    let (_server, admin, agent) = with_node();
    let id = admin.queue("n1");
    agent.claim();
    agent.output(
        &id,
        &[
            chunk("stdout", 0, "one\ntwo\nthr"),
            chunk("stderr", 0, "x\n"),
        ],
    );
    let paths = [
        format!("/api/jobs/{id}/stream"),
        format!("/api/jobs/{id}/stream?times=true"),
        format!("/api/events?job={id}&times=true"),
    ];
    let mut streams: Vec<_> = paths.iter().map(|path| admin.get(path).open()).collect();
    let is_output = |event: &Event| event.name == "output";
    let mut kept = Vec::new();
    for stream in &mut streams {
        kept.push(stream.until(is_output).pop().expect("output").data);
        stream.until(is_output);
    }
    // New output is encoded once for all viewers.
    agent.say(&id, 11, "ee\nfour\n");
    let new = streams
        .iter_mut()
        .map(|stream| stream.until(is_output).pop());
    let new: Vec<Value> = new.map(|event| event.expect("output").data).collect();
    assert_eq!(
        kept[0],
        json!({"stream": "stdout", "offset": 0, "end": 11, "data": "one\ntwo\nthr"})
    );
    assert_eq!(
        new[0],
        json!({"stream": "stdout", "offset": 11, "end": 19, "data": "ee\nfour\n"})
    );
    for index in [1, 2] {
        assert_eq!(kept[index]["line"], 1);
        assert_eq!(
            new[index]["line"], 4,
            "as many had begun with its first byte"
        );
        assert_eq!(new[index]["at"], new[1]["at"]);
        assert!(kept[index].field("at") <= new[index].field("at"));
        assert_eq!(new[index]["data"], new[0]["data"]);
    }
    for path in &paths[1..] {
        let path = path.replace("times=true", "times=1");
        assert_eq!(admin.get(&path).gives(400).fields(), ["times"]);
    }
}
