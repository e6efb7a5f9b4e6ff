//! The loopback network.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use crate::wire::{Connection, post};

/// Returns the milliseconds of round trips of one byte over TCP.
pub(crate) fn round_trips_ms(samples: usize) -> anyhow::Result<Vec<f64>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut near = TcpStream::connect(listener.local_addr()?)?;
    let (mut far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let echo = std::thread::spawn(move || {
        let mut byte = [0];
        while far.read_exact(&mut byte).is_ok() && far.write_all(&byte).is_ok() {}
    });
    let mut byte = [0];
    let mut times = Vec::with_capacity(samples);
    for _ in 0..samples {
        let start = Instant::now();
        near.write_all(&byte)?;
        near.read_exact(&mut byte)?;
        times.push(start.elapsed().as_secs_f64() * 1_000.0);
    }
    drop(near);
    // The thread ends with the connection.
    let _ended = echo.join();
    Ok(times)
}

/// Returns the seconds to upload so many bytes to the no-op server, in bodies of 512 KiB one after
/// the other.
pub(crate) async fn upload_seconds(address: &str, bytes: usize) -> anyhow::Result<f64> {
    let body = vec![b'x'; 512 * 1024];
    let request = post("/upload", "", &body);
    let mut connection = Connection::open(address).await?;
    let start = Instant::now();
    for _ in 0..bytes.div_ceil(body.len()) {
        let answer = connection.call(&request).await?;
        anyhow::ensure!(answer.status == 200, "an upload failed");
    }
    Ok(start.elapsed().as_secs_f64())
}
