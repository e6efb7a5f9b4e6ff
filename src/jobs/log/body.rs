//! A log on its way to a client: each line with the time at which it came, or the whole compressed,
//! where that was asked.

use std::io::{self, Write};

use axum::body::Body;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::jobs::Jobs;
use crate::jobs::log::window::{KeptError, Reading, joined};
use crate::store::StoreError;
use crate::store::output::StoredChunk;

/// A log on its way to a client: a window is read when the client has taken the one before.
pub(in crate::jobs) struct Sending {
    jobs: Jobs,
    reading: Reading,
    /// Read and not sent yet.
    window: Option<Vec<StoredChunk>>,
    form: Form,
}

impl Sending {
    /// A reading of which the `first` window was read; with the `times` of its lines, and packed
    /// with `gzip`, where asked.
    pub(in crate::jobs) fn new(
        jobs: Jobs,
        reading: Reading,
        first: Vec<StoredChunk>,
        times: bool,
        gzip: bool,
    ) -> Self {
        let packer = || GzEncoder::new(Vec::new(), Compression::default());
        Self {
            jobs,
            reading,
            window: Some(first),
            form: Form {
                line_begins: times.then_some(true),
                packer: gzip.then(packer),
            },
        }
    }

    /// A body that breaks off where a promised byte is not there any more.
    pub(in crate::jobs) fn into_body(self) -> Body {
        let windows = futures_util::stream::try_unfold(Some(self), |sending| async move {
            let Some(sending) = sending else {
                return Ok(None);
            };
            sending.next().await.map(Some).inspect_err(|error| {
                tracing::info!(%error, "a download of a log broke off");
            })
        });
        Body::from_stream(windows)
    }

    /// The next bytes, and the rest if there is more.
    async fn next(mut self) -> Result<(Bytes, Option<Self>), KeptError> {
        let chunks = match self.window.take() {
            Some(first) => first,
            None => {
                let mut reading = self.reading;
                let read = self.jobs.store.read(move |tx| {
                    let chunks = reading.read(tx)?;
                    Ok::<_, KeptError>((reading, chunks))
                });
                let (reading, chunks) = read.await?;
                self.reading = reading;
                chunks
            }
        };
        let is_last = self.reading.is_done();
        let mut form = self.form;
        let formed = tokio::task::spawn_blocking(move || {
            let bytes = form.bytes(chunks, is_last);
            (form, bytes)
        });
        let (form, bytes) = formed
            .await
            .map_err(|_| KeptError::Store(StoreError::Stopping))?;
        self.form = form;
        Ok((bytes.into(), (!is_last).then_some(self)))
    }
}

/// What is made of the bytes on their way.
struct Form {
    /// Where lines get their times: whether the next byte begins one.
    line_begins: Option<bool>,
    packer: Option<GzEncoder<Vec<u8>>>,
}

impl Form {
    /// The bytes of a window.
    fn bytes(&mut self, chunks: Vec<StoredChunk>, is_last: bool) -> Vec<u8> {
        let plain = self.with_times(chunks);
        let Some(packer) = &mut self.packer else {
            return plain;
        };
        let packed = packer.write_all(&plain).and_then(|()| {
            if is_last {
                packer.try_finish()?;
            }
            io::Result::Ok(std::mem::take(packer.get_mut()))
        });
        packed.expect("memory takes every write")
    }

    fn with_times(&mut self, chunks: Vec<StoredChunk>) -> Vec<u8> {
        let Some(begins) = &mut self.line_begins else {
            return joined(&chunks);
        };
        let mut bytes = Vec::new();
        for chunk in chunks {
            let stamp = format!("{} ", chunk.arrived_at);
            for line in chunk.data.split_inclusive(|byte| *byte == b'\n') {
                if *begins {
                    bytes.extend_from_slice(stamp.as_bytes());
                }
                bytes.extend_from_slice(line);
                *begins = line.ends_with(b"\n");
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use hyprbox_protocol::Stream;

    use super::*;

    #[test]
    fn lines_get_their_times_once_and_across_chunks() {
        let chunk = |millis, data: &[u8]| StoredChunk {
            stream: Stream::Stdout,
            start_offset: 0,
            position: 0,
            arrived_at: crate::clock::Timestamp::from_millis(millis),
            line: None,
            data: data.to_vec(),
        };
        let mut form = Form {
            line_begins: Some(true),
            packer: None,
        };
        let first = form.bytes(vec![chunk(0, b"a\nb"), chunk(1_000, b"c\n\nd")], false);
        let rest = form.bytes(vec![chunk(2_000, b"\n")], true);
        let text = String::from_utf8([first, rest].concat()).expect("text");
        let at = |second: u32| format!("1970-01-01T00:00:0{second}.000Z ");
        let wanted = format!("{}a\n{}bc\n{}\n{}d\n", at(0), at(0), at(1), at(1));
        assert_eq!(text, wanted);
    }
}
