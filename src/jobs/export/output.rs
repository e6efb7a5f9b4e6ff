//! The body of an export: its head, the output window by window, and its tail. A window is read
//! when the client has taken the one before.

use axum::body::Body;
use bytes::Bytes;
use hyprbox_protocol::{PerStream, to_hex};

use super::{Export, OUTPUT_MAX, Totals, Writer};
use crate::crypto::Sha256;
use crate::jobs::log::window::WindowReader;
use crate::jobs::{JobError, Jobs};
use crate::store::StoreError;
use crate::store::output::StoredChunk;

/// What is left of an export.
pub(super) struct ExportBody {
    jobs: Jobs,
    reader: WindowReader,
    export: Export,
    writer: Box<dyn Writer>,
    hashes: PerStream<Sha256>,
    written: u64,
    omitted: u64,
    begun: bool,
}

impl ExportBody {
    pub(super) fn new(
        jobs: Jobs,
        reader: WindowReader,
        export: Export,
        writer: Box<dyn Writer>,
    ) -> Self {
        Self {
            jobs,
            reader,
            export,
            writer,
            hashes: PerStream::default(),
            written: 0,
            omitted: 0,
            begun: false,
        }
    }

    /// The HTTP body. It is aborted if a byte is dropped from the kept tail before it was read.
    pub(super) fn into_body(self) -> Body {
        let parts = futures_util::stream::try_unfold(Some(self), |body| async move {
            let Some(body) = body else {
                return Ok(None);
            };
            body.next().await.map(Some).inspect_err(|error: &JobError| {
                tracing::info!(%error, "aborted an export");
            })
        });
        Body::from_stream(parts)
    }

    /// The next part, and the rest unless this is the last one.
    async fn next(mut self) -> Result<(Bytes, Option<Self>), JobError> {
        if !std::mem::replace(&mut self.begun, true) {
            let head = self.writer.head(&self.export);
            return Ok((head.into(), Some(self)));
        }
        if self.reader.is_done() {
            let totals = Totals {
                omitted: self.omitted,
                kept: self.hashes.map(|hash| to_hex(hash.finish())),
            };
            let tail = self.writer.tail(&self.export, &totals);
            return Ok((tail.into(), None));
        }
        let mut reader = self.reader;
        let read = self.jobs.store.read(move |tx| {
            let chunks = reader.read(tx)?;
            Ok::<_, JobError>((reader, chunks))
        });
        let (reader, chunks) = read.await?;
        self.reader = reader;
        let written = tokio::task::spawn_blocking(move || {
            let part = self.write(chunks);
            (self, part)
        });
        let (rest, part) = written.await.map_err(|_| StoreError::Stopping)?;
        Ok((part.into(), Some(rest)))
    }

    fn write(&mut self, chunks: Vec<StoredChunk>) -> String {
        let mut part = String::new();
        for mut chunk in chunks {
            self.hashes[chunk.stream].update(&chunk.data);
            let room = usize::try_from(OUTPUT_MAX - self.written).unwrap_or(usize::MAX);
            self.omitted += chunk.data.len().saturating_sub(room) as u64;
            chunk.data.truncate(room);
            self.written += chunk.data.len() as u64;
            if !chunk.data.is_empty() {
                part.push_str(&self.writer.output(&chunk));
            }
        }
        part
    }
}
