//! Writer and reader together, as supervisor and agent use them.

use super::*;

/// Returns deterministic noise that differs at every offset.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect()
}

/// Reads all batches, as (stream, offset, bytes), with adjacent pieces joined.
fn drain(reader: &mut SpoolReader, max: usize) -> Vec<(Stream, u64, Vec<u8>)> {
    let mut all: Vec<(Stream, u64, Vec<u8>)> = Vec::new();
    let mut batch = Batch::default();
    loop {
        reader.fill(&mut batch, max).expect("readable");
        assert!(batch.bytes.len() <= max);
        if batch.pieces.is_empty() {
            return all;
        }
        for piece in &batch.pieces {
            let bytes = &batch.bytes[piece.range.clone()];
            match all.last_mut() {
                Some((stream, at, known))
                    if *stream == piece.stream && *at + known.len() as u64 == piece.offset =>
                {
                    known.extend_from_slice(bytes);
                }
                _ => all.push((piece.stream, piece.offset, bytes.to_vec())),
            }
        }
    }
}

fn of(stream: Stream, all: &[(Stream, u64, Vec<u8>)]) -> Vec<u8> {
    let parts = all.iter().filter(|(s, _, _)| *s == stream);
    parts.flat_map(|(_, _, bytes)| bytes.clone()).collect()
}

#[test]
fn both_streams_come_back_in_the_order_of_the_reads() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut writer = SpoolWriter::new(dir.path(), None);
    let mut reader = SpoolReader::new(dir.path());
    assert!(drain(&mut reader, 100).is_empty());
    writer.append(Stream::Stdout, b"one ");
    writer.append(Stream::Stderr, b"two ");
    writer.append(Stream::Stdout, b"three ");
    writer.append(Stream::Stdout, b"four ");
    for max in [1, 3, 1000] {
        reader.seek(PerStream::new(0, 0));
        let expected = [
            (Stream::Stdout, 0, b"one ".to_vec()),
            (Stream::Stderr, 0, b"two ".to_vec()),
            (Stream::Stdout, 4, b"three four ".to_vec()),
        ];
        assert_eq!(drain(&mut reader, max), expected);
    }
    writer.append(Stream::Stderr, b"five");
    assert_eq!(
        drain(&mut reader, 1000),
        [(Stream::Stderr, 4, b"five".to_vec())]
    );
    assert_eq!(reader.next(), writer.totals());
}

#[test]
fn a_reader_continues_at_the_servers_offsets() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut writer = SpoolWriter::new(dir.path(), None);
    let out = noise(1, 3_000_000);
    let err = noise(2, 30_000);
    for (i, piece) in out.chunks(100_000).enumerate() {
        writer.append(Stream::Stdout, piece);
        writer.append(Stream::Stderr, &err[i * 1000..(i + 1) * 1000]);
    }
    for next in [
        [0, 0],
        [1_234_567, 12_345],
        [2_999_999, 30_000],
        [3_000_000, 0],
    ] {
        let mut reader = SpoolReader::new(dir.path());
        reader.seek(PerStream::new(next[0], next[1]));
        let all = drain(&mut reader, BATCH_BYTES);
        assert!(of(Stream::Stdout, &all) == out[next[0] as usize..]);
        assert!(of(Stream::Stderr, &all) == err[next[1] as usize..]);
        assert_eq!(reader.next(), PerStream::new(3_000_000, 30_000));
    }
}

#[test]
fn old_segments_are_removed_and_skipped() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut writer = SpoolWriter::new(dir.path(), None);
    let mut reader = SpoolReader::new(dir.path());
    writer.append(Stream::Stderr, b"early output");
    let out = noise(3, 20_000_000);
    for piece in out.chunks(70_001) {
        writer.append(Stream::Stdout, piece);
    }
    let on_disk: u64 = std::fs::read_dir(dir.path())
        .expect("a folder")
        .map(|f| f.expect("a file").metadata().expect("its size").len())
        .sum();
    assert!(on_disk < 9 * 1024 * 1024, "{on_disk}");
    let all = drain(&mut reader, BATCH_BYTES);
    assert_eq!(of(Stream::Stderr, &all), b"early output");
    let kept = of(Stream::Stdout, &all);
    assert!(kept.len() >= 7 * 1024 * 1024, "{}", kept.len());
    assert!(out.ends_with(&kept));
    let (_, first, _) = all
        .iter()
        .find(|(stream, ..)| *stream == Stream::Stdout)
        .expect("some is kept");
    assert_eq!(*first as usize, out.len() - kept.len());
    assert_eq!(reader.next(), writer.totals());
    assert_eq!(
        totals_on_disk(dir.path()).expect("readable"),
        writer.totals()
    );
}

#[test]
fn the_index_may_be_shorter_than_the_output() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut writer = SpoolWriter::new(dir.path(), None);
    let out = noise(4, 400_000);
    for piece in out.chunks(1) {
        writer.append(Stream::Stdout, piece);
    }
    writer.append(Stream::Stderr, b"end");
    // The oldest reads are no longer in the index.
    for number in 0..3 {
        std::fs::remove_file(index_path(dir.path(), number)).expect("was there");
    }
    let mut reader = SpoolReader::new(dir.path());
    let all = drain(&mut reader, BATCH_BYTES);
    assert!(of(Stream::Stdout, &all) == out);
    assert_eq!(of(Stream::Stderr, &all), b"end");
    // Without an index, everything is read once the job has ended.
    for number in numbered(dir.path(), "index").expect("readable") {
        std::fs::remove_file(index_path(dir.path(), number)).expect("was there");
    }
    let mut reader = SpoolReader::new(dir.path());
    reader.end_at(PerStream::new(400_000, 3));
    let all = drain(&mut reader, BATCH_BYTES);
    assert!(of(Stream::Stdout, &all) == out);
    assert_eq!(of(Stream::Stderr, &all), b"end");
}

#[test]
fn bytes_that_the_disk_does_not_take_are_a_gap() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut writer = SpoolWriter::new(dir.path(), None);
    writer.append(Stream::Stdout, b"before ");
    // A folder in the place of the next segment has the effect of a full disk.
    let blocked = segment_path(dir.path(), Stream::Stderr, 0);
    std::fs::create_dir(&blocked).expect("made");
    writer.append(Stream::Stderr, b"lost");
    writer.append(Stream::Stdout, b"between ");
    writer.append(Stream::Stderr, b"kept");
    let mut reader = SpoolReader::new(dir.path());
    let all = drain(&mut reader, 1000);
    assert_eq!(of(Stream::Stdout, &all), b"before between ");
    assert_eq!(all.last(), Some(&(Stream::Stderr, 4, b"kept".to_vec())));
    assert_eq!(writer.totals(), PerStream::new(15, 8));
}

#[test]
fn a_batch_is_not_cut_inside_a_character() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut writer = SpoolWriter::new(dir.path(), None);
    let text = "\u{e9}\u{20ac}\u{1f600}x".repeat(100);
    for piece in text.as_bytes().chunks(7) {
        writer.append(Stream::Stdout, piece);
    }
    for max in 4..40 {
        let mut reader = SpoolReader::new(dir.path());
        let mut batch = Batch::default();
        let mut got = String::new();
        while got.len() < text.len() {
            reader.fill(&mut batch, max).expect("readable");
            got.push_str(std::str::from_utf8(&batch.bytes).expect("whole characters"));
        }
        assert_eq!(got, text);
    }
    // Half a character is sent if nothing follows it.
    writer.append(Stream::Stderr, b"ab\xe2\x82");
    let mut reader = SpoolReader::new(dir.path());
    reader.seek(PerStream::new(text.len() as u64, 0));
    let mut batch = Batch::default();
    reader.fill(&mut batch, 100).expect("readable");
    assert_eq!(batch.bytes, b"ab");
    reader.fill(&mut batch, 100).expect("readable");
    assert_eq!(batch.bytes, b"\xe2\x82");
    writer.append(Stream::Stderr, b"\xac.");
    reader.fill(&mut batch, 100).expect("readable");
    assert_eq!(batch.bytes, b"\xac.");
}

/// The bytes of all files in a folder.
fn bytes_on_disk(dir: &Path) -> u64 {
    std::fs::read_dir(dir)
        .expect("a folder")
        .map(|f| f.expect("a file").metadata().expect("its size").len())
        .sum()
}

#[test]
fn with_a_limit_everything_is_kept_up_to_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let max = 30 << 20;
    let mut writer = SpoolWriter::new(dir.path(), Some(max));
    let out = noise(5, 40 << 20);
    let err = noise(6, 1 << 20);
    let mut seen_full = false;
    for (i, piece) in out.chunks(70_001).enumerate() {
        writer.append(Stream::Stdout, piece);
        if let Some(piece) = err.chunks(7_001).nth(i) {
            writer.append(Stream::Stderr, piece);
        }
        let on_disk = bytes_on_disk(dir.path());
        assert!(on_disk <= max, "{on_disk}");
        let written: u64 = writer.totals().iter().map(|(_, total)| *total).sum();
        seen_full |= written > max;
        if !seen_full {
            assert!(on_disk >= written, "{on_disk} of {written}");
        }
    }
    assert!(seen_full);
    let all = drain(&mut SpoolReader::new(dir.path()), BATCH_BYTES);
    assert!(of(Stream::Stderr, &all) == err);
    let kept = of(Stream::Stdout, &all);
    assert!(kept.len() >= 27 << 20, "{}", kept.len());
    assert!(out.ends_with(&kept));
}

#[test]
fn acknowledged_output_makes_room_for_more() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut writer = SpoolWriter::new(dir.path(), Some(20 << 20));
    let mut reader = SpoolReader::new(dir.path());
    let mut cleaner = SpoolCleaner::new(dir.path());
    let out = noise(7, 100 << 20);
    let mut got = Vec::new();
    for piece in out.chunks(10 << 20) {
        for read in piece.chunks(65_536) {
            writer.append(Stream::Stdout, read);
        }
        // Nothing is missing, because the server has what was sent before.
        let all = drain(&mut reader, BATCH_BYTES);
        got.extend_from_slice(&of(Stream::Stdout, &all));
        assert_eq!(reader.next(), writer.totals());
        cleaner.acknowledged(reader.next());
    }
    assert!(got == out);
    // A server that was restored from a backup asks for the newest output again.
    assert!(bytes_on_disk(dir.path()) >= 8 << 20);
    let from = out.len() - (8 << 20);
    reader.seek(PerStream::new(from as u64, 0));
    let all = drain(&mut reader, BATCH_BYTES);
    assert!(of(Stream::Stdout, &all) == out[from..]);
}

#[test]
fn the_index_of_acknowledged_output_is_removed() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut writer = SpoolWriter::new(dir.path(), Some(64 << 20));
    // Four indexes and a part of the fifth.
    let text = noise(8, 5 * INDEX_RECORDS as usize * 8 - 80);
    for piece in text.chunks(8) {
        writer.append(Stream::Stdout, piece);
    }
    let numbers = || numbered(dir.path(), "index").expect("readable");
    assert_eq!(numbers(), [0, 1, 2, 3, 4]);
    let mut cleaner = SpoolCleaner::new(dir.path());
    // In the middle of the fourth one.
    let next = INDEX_RECORDS * 8 * 7 / 2;
    cleaner.acknowledged(PerStream::new(next, 0));
    assert_eq!(numbers(), [3, 4]);
    let mut reader = SpoolReader::new(dir.path());
    reader.seek(PerStream::new(next, 0));
    let all = drain(&mut reader, BATCH_BYTES);
    assert!(of(Stream::Stdout, &all) == text[next as usize..]);
    cleaner.acknowledged(writer.totals());
    assert_eq!(numbers(), [4]);
}
