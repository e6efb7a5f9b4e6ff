//! The body of a log response: each line with its time, or the whole compressed, if the client asks
//! for it.

use std::io::{self, Write};

use axum::body::Body;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::jobs::log::window::{WindowReader, joined};
use crate::jobs::{JobError, Jobs};
use crate::store::StoreError;
use crate::store::output::StoredChunk;

/// The body of a log response. Each window is read when the client has taken the one before.
pub(in crate::jobs) struct LogBody {
    jobs: Jobs,
    reader: WindowReader,
    /// The first window, until it is sent.
    first: Option<Vec<StoredChunk>>,
    encoder: Encoder,
}

impl LogBody {
    /// A body of the `first` window and what follows it in `reader`; optionally with the `times` of
    /// its lines, or compressed with `gzip`.
    pub(in crate::jobs) fn new(
        jobs: Jobs,
        reader: WindowReader,
        first: Vec<StoredChunk>,
        times: bool,
        gzip: bool,
    ) -> Self {
        let compressor = || GzEncoder::new(Vec::new(), Compression::default());
        Self {
            jobs,
            reader,
            first: Some(first),
            encoder: Encoder {
                at_line_start: times.then_some(true),
                compressor: gzip.then(compressor),
            },
        }
    }

    /// The HTTP body. It is aborted if a byte is dropped from the kept tail before it was read.
    pub(in crate::jobs) fn into_body(self) -> Body {
        let windows = futures_util::stream::try_unfold(Some(self), |body| async move {
            let Some(body) = body else {
                return Ok(None);
            };
            body.next().await.map(Some).inspect_err(|error| {
                tracing::info!(%error, "aborted a log download");
            })
        });
        Body::from_stream(windows)
    }

    /// The next bytes, and the rest of the body unless these are the last.
    async fn next(mut self) -> Result<(Bytes, Option<Self>), JobError> {
        let chunks = match self.first.take() {
            Some(first) => first,
            None => {
                let mut reader = self.reader;
                let read = self.jobs.store.read(move |tx| {
                    let chunks = reader.read(tx)?;
                    Ok::<_, JobError>((reader, chunks))
                });
                let (reader, chunks) = read.await?;
                self.reader = reader;
                chunks
            }
        };
        let is_last = self.reader.is_done();
        let mut encoder = self.encoder;
        let encoded = tokio::task::spawn_blocking(move || {
            let bytes = encoder.encode(chunks, is_last);
            (encoder, bytes)
        });
        let (encoder, bytes) = encoded.await.map_err(|_| StoreError::Stopping)?;
        self.encoder = encoder;
        Ok((bytes.into(), (!is_last).then_some(self)))
    }
}

struct Encoder {
    /// Whether the next byte begins a line; `None` if lines get no times.
    at_line_start: Option<bool>,
    compressor: Option<GzEncoder<Vec<u8>>>,
}

impl Encoder {
    fn encode(&mut self, chunks: Vec<StoredChunk>, is_last: bool) -> Vec<u8> {
        let plain = self.with_times(chunks);
        let Some(compressor) = &mut self.compressor else {
            return plain;
        };
        let compressed = compressor.write_all(&plain).and_then(|()| {
            if is_last {
                compressor.try_finish()?;
            }
            io::Result::Ok(std::mem::take(compressor.get_mut()))
        });
        compressed.expect("writing to memory does not fail")
    }

    fn with_times(&mut self, chunks: Vec<StoredChunk>) -> Vec<u8> {
        let Some(at_line_start) = &mut self.at_line_start else {
            return joined(&chunks);
        };
        let mut bytes = Vec::new();
        for chunk in chunks {
            let stamp = format!("{} ", chunk.arrived_at);
            for line in chunk.data.split_inclusive(|byte| *byte == b'\n') {
                if *at_line_start {
                    bytes.extend_from_slice(stamp.as_bytes());
                }
                bytes.extend_from_slice(line);
                *at_line_start = line.ends_with(b"\n");
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
    fn each_line_gets_its_time_once_even_across_chunks() {
        let chunk = |millis, data: &[u8]| StoredChunk {
            stream: Stream::Stdout,
            start_offset: 0,
            position: 0,
            arrived_at: crate::clock::Timestamp::from_millis(millis),
            line: None,
            step_ms: None,
            data: data.to_vec(),
        };
        let mut encoder = Encoder {
            at_line_start: Some(true),
            compressor: None,
        };
        let first = encoder.encode(vec![chunk(0, b"a\nb"), chunk(1_000, b"c\n\nd")], false);
        let rest = encoder.encode(vec![chunk(2_000, b"\n")], true);
        let text = String::from_utf8([first, rest].concat()).expect("text");
        let at = |second: u32| format!("1970-01-01T00:00:0{second}.000Z ");
        let wanted = format!("{}a\n{}bc\n{}\n{}d\n", at(0), at(0), at(1), at(1));
        assert_eq!(text, wanted);
    }
}
