//! `jobs log` of what there is: it goes on where its download broke off, or says how to.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use super::Cli;
use crate::harness::{FakeAgent, Person, Server, with_operator};

/// So much of an answer gets through before the line breaks.
const THROUGH: usize = 100_000;

fn ready() -> (Server, Person, FakeAgent, String) {
    let (server, ann, agent) = with_operator();
    let id = ann.queue("n1");
    agent.claim();
    let lines: String = (0..30_000).map(|line| format!("line {line}\n")).collect();
    agent.say(&id, 0, &lines);
    (server, ann, agent, id)
}

/// Passes connections on to the server, and breaks each off in the middle of a long answer.
fn breaking_line(server: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let server = server.to_owned();
    std::thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let far = TcpStream::connect(&server).expect("the server");
            let (mut from, mut to) = (
                near.try_clone().expect("a handle"),
                far.try_clone().expect("a handle"),
            );
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            std::thread::spawn(move || pass(&far, &near));
        }
    });
    url
}

fn pass(mut far: &TcpStream, mut near: &TcpStream) {
    let (mut left, mut buffer) = (THROUGH, [0; 4_096]);
    while let Ok(length @ 1..) = far.read(&mut buffer) {
        let some = length.min(left);
        left -= some;
        if near.write_all(&buffer[..some]).is_err() || left == 0 {
            break;
        }
    }
    // One that has gone already needs no breaking.
    let _gone = (near.shutdown(Shutdown::Both), far.shutdown(Shutdown::Both));
}

#[test]
fn an_interrupted_download_resumes_at_the_next_byte() {
    let (server, ann, agent, id) = ready();
    agent.succeed(&id);
    let cli = Cli::at(&breaking_line(server.address()), &ann);
    let ran = cli.run(&["jobs", "log", &id]).ends(0);
    let log = ann.log(&id, "both");
    assert!(log.len() > 3 * THROUGH, "{} bytes", log.len());
    assert!(ran.stdout == log, "{} bytes came", ran.stdout.len());
    let ran = cli.run(&["jobs", "log", &id, "--tail", "2"]).ends(0);
    assert_eq!(ran.text(), "line 29998\nline 29999\n");
}

#[test]
fn a_download_that_cannot_resume_explains_how_to_start_over() {
    let (server, ann, _agent, id) = ready();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(server);
    // Some other server, whose text is never the same twice.
    std::thread::spawn(move || {
        for mut near in listener.incoming().map_while(Result::ok) {
            let mut request = [0; 4_096];
            let _length = near.read(&mut request);
            let _gone = near.write_all(
                b"HTTP/1.1 200 OK\r\nETag: \"a\"\r\nContent-Length: 99\r\nConnection: close\r\n\r\nsome",
            );
        }
    });
    let ran = Cli::at(&url, &ann).run(&["jobs", "log", &id]).ends(125);
    assert_eq!(ran.text(), "some");
    ran.says("the log download broke off after 4 bytes: the response was cut short")
        .says(&format!("hyprbox jobs log --follow {id}"));
}
