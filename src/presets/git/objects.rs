//! Reads commits and trees of a git repository: loose, and from packs with deltas.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use flate2::read::ZlibDecoder;
use hyprbox_protocol::to_hex;

/// SHA-1 of an object.
pub(super) type ObjectId = [u8; 20];

/// Largest object that is read. A tree of this size has half a million files.
const OBJECT_MAX: u64 = 32 * 1024 * 1024;
/// Longest chain of deltas; git's own limit.
const CHAIN_MAX: usize = 4_096;

const TREE: u8 = 2;
const COMMIT: u8 = 1;

/// 40 hex digits.
pub(super) fn parse_id(hex: &str) -> Option<ObjectId> {
    let digits = hex.as_bytes();
    let mut id = [0; 20];
    if digits.len() != 40 {
        return None;
    }
    for (byte, pair) in id.iter_mut().zip(digits.chunks(2)) {
        let digit = |c: u8| char::from(c).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
    }
    Some(id)
}

/// A file or folder in a tree.
pub(super) struct TreeEntry {
    pub(super) name: Vec<u8>,
    pub(super) id: ObjectId,
    pub(super) is_tree: bool,
}

/// The objects of a repository.
pub(super) struct Objects {
    /// Folders of objects: the repository's own, and those that it borrows from.
    folders: Vec<PathBuf>,
    packs: Vec<Pack>,
}

struct Pack {
    index: File,
    data: File,
    /// How many objects have an id that begins with a byte up to this one.
    fanout: Vec<u32>,
}

/// An object's type and content.
struct Object {
    kind: u8,
    bytes: Vec<u8>,
}

impl Objects {
    pub(super) fn open(own: PathBuf) -> io::Result<Self> {
        let mut folders = vec![own];
        let mut at = 0;
        while let Some(folder) = folders.get(at).filter(|_| at < 10).cloned() {
            at += 1;
            let others = fs::read_to_string(folder.join("info/alternates")).unwrap_or_default();
            folders.extend(others.lines().map(|other| folder.join(other)));
        }
        let mut packs = Vec::new();
        for folder in &folders {
            let Ok(files) = fs::read_dir(folder.join("pack")) else {
                continue;
            };
            for file in files {
                let path = file?.path();
                if path.extension().is_some_and(|end| end == "idx") {
                    packs.extend(Pack::open(&path)?);
                }
            }
        }
        Ok(Self { folders, packs })
    }

    /// The tree of a commit.
    pub(super) fn tree_of_commit(&self, id: ObjectId) -> io::Result<ObjectId> {
        let commit = self.read(id, COMMIT)?;
        let line = commit.split(|byte| *byte == b'\n').next();
        let hex = line.and_then(|line| line.strip_prefix(b"tree "));
        let hex = hex.and_then(|hex| std::str::from_utf8(hex).ok());
        hex.and_then(parse_id).ok_or_else(|| broken(id))
    }

    /// The entries of a tree.
    pub(super) fn tree(&self, id: ObjectId) -> io::Result<Vec<TreeEntry>> {
        let bytes = self.read(id, TREE)?;
        let (mut rest, mut entries) = (&bytes[..], Vec::new());
        while !rest.is_empty() {
            let (entry, after) = tree_entry(rest).ok_or_else(|| broken(id))?;
            entries.push(entry);
            rest = after;
        }
        Ok(entries)
    }

    fn read(&self, id: ObjectId, kind: u8) -> io::Result<Vec<u8>> {
        let object = self.find(id)?;
        if object.kind == kind {
            Ok(object.bytes)
        } else {
            Err(broken(id))
        }
    }

    fn find(&self, id: ObjectId) -> io::Result<Object> {
        // Deltas of an object, the last one first, down to an object that is whole.
        let mut deltas: Vec<Vec<u8>> = Vec::new();
        let mut place = self.place_of(id)?;
        for _ in 0..CHAIN_MAX {
            let (kind, bytes) = match place {
                Place::Loose(object) => (object.kind, object.bytes),
                Place::Packed { pack, offset } => {
                    let mut data = BufReader::new(&self.packs[pack].data);
                    data.seek(SeekFrom::Start(offset))?;
                    let (kind, size) = entry_header(&mut data)?;
                    match kind {
                        6 => {
                            let back = delta_distance(&mut data)?;
                            deltas.push(inflate(data, size)?);
                            let offset = offset.checked_sub(back).ok_or_else(|| broken(id))?;
                            place = Place::Packed { pack, offset };
                            continue;
                        }
                        7 => {
                            let mut base = ObjectId::default();
                            data.read_exact(&mut base)?;
                            deltas.push(inflate(data, size)?);
                            place = self.place_of(base)?;
                            continue;
                        }
                        kind => (kind, inflate(data, size)?),
                    }
                }
            };
            let mut bytes = bytes;
            for delta in deltas.iter().rev() {
                bytes = patch(&bytes, delta).ok_or_else(|| broken(id))?;
            }
            return Ok(Object { kind, bytes });
        }
        Err(broken(id))
    }

    fn place_of(&self, id: ObjectId) -> io::Result<Place> {
        for (pack, it) in self.packs.iter().enumerate() {
            if let Some(offset) = it.offset_of(id)? {
                return Ok(Place::Packed { pack, offset });
            }
        }
        let hex = to_hex(id);
        for folder in &self.folders {
            match File::open(folder.join(&hex[..2]).join(&hex[2..])) {
                Ok(file) => return loose(file, id).map(Place::Loose),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("the repository lacks the object {hex}"),
        ))
    }
}

/// Where an object is.
enum Place {
    Loose(Object),
    Packed { pack: usize, offset: u64 },
}

impl Pack {
    /// `None` if the index has a format that git no longer writes.
    fn open(index: &Path) -> io::Result<Option<Self>> {
        let data = File::open(index.with_extension("pack"))?;
        let index = File::open(index)?;
        let mut head = [0; 8 + 4 * 256];
        index.read_exact_at(&mut head, 0)?;
        if head[..8] != *b"\xfftOc\0\0\0\x02" {
            return Ok(None);
        }
        let number = |bytes: &[u8]| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let fanout = head[8..].chunks(4).map(number).collect();
        Ok(Some(Self {
            index,
            data,
            fanout,
        }))
    }

    fn offset_of(&self, id: ObjectId) -> io::Result<Option<u64>> {
        const IDS: u64 = 8 + 4 * 256;
        let first = usize::from(id[0]);
        let mut low = first
            .checked_sub(1)
            .map_or(0, |before| u64::from(self.fanout[before]));
        let mut high = u64::from(self.fanout[first]);
        while low < high {
            let middle = low.midpoint(high);
            let mut found = ObjectId::default();
            self.index.read_exact_at(&mut found, IDS + 20 * middle)?;
            match found.cmp(&id) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return self.offset_at(middle).map(Some),
            }
        }
        Ok(None)
    }

    fn offset_at(&self, number: u64) -> io::Result<u64> {
        let count = u64::from(self.fanout[255]);
        // Ids and checksums come before the offsets.
        let offsets = 8 + 4 * 256 + 24 * count;
        let mut short = [0; 4];
        self.index.read_exact_at(&mut short, offsets + 4 * number)?;
        let short = u32::from_be_bytes(short);
        if short & 0x8000_0000 == 0 {
            return Ok(u64::from(short));
        }
        let mut long = [0; 8];
        let place = offsets + 4 * count + 8 * u64::from(short & 0x7fff_ffff);
        self.index.read_exact_at(&mut long, place)?;
        Ok(u64::from_be_bytes(long))
    }
}

/// The type and size before an object in a pack.
fn entry_header(data: &mut impl Read) -> io::Result<(u8, u64)> {
    let mut byte = next_byte(data)?;
    let kind = byte >> 4 & 7;
    let (mut size, mut shift) = (u64::from(byte & 15), 4);
    while byte & 0x80 != 0 && shift < 60 {
        byte = next_byte(data)?;
        size |= u64::from(byte & 0x7f) << shift;
        shift += 7;
    }
    Ok((kind, size))
}

/// How far before a delta its base is in the pack.
fn delta_distance(data: &mut impl Read) -> io::Result<u64> {
    let mut byte = next_byte(data)?;
    let mut distance = u64::from(byte & 0x7f);
    while byte & 0x80 != 0 && distance < 1 << 50 {
        byte = next_byte(data)?;
        distance = (distance + 1) << 7 | u64::from(byte & 0x7f);
    }
    Ok(distance)
}

fn next_byte(data: &mut impl Read) -> io::Result<u8> {
    let mut byte = [0];
    data.read_exact(&mut byte)?;
    Ok(byte[0])
}

fn inflate(data: impl Read, size: u64) -> io::Result<Vec<u8>> {
    if size > OBJECT_MAX {
        return Err(io::Error::other("an object of the repository is too large"));
    }
    let mut bytes = Vec::new();
    ZlibDecoder::new(data).take(size).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// `tree 123`, a NUL and the content, compressed together.
fn loose(file: File, id: ObjectId) -> io::Result<Object> {
    let mut bytes = Vec::new();
    let mut data = ZlibDecoder::new(file).take(OBJECT_MAX);
    data.read_to_end(&mut bytes)?;
    let head = bytes.iter().position(|byte| *byte == 0);
    let head = head.ok_or_else(|| broken(id))?;
    let kind = match bytes.split(|byte| *byte == b' ').next() {
        Some(b"commit") => COMMIT,
        Some(b"tree") => TREE,
        _ => return Err(broken(id)),
    };
    bytes.drain(..=head);
    Ok(Object { kind, bytes })
}

/// `100644 name`, a NUL and the id.
fn tree_entry(bytes: &[u8]) -> Option<(TreeEntry, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let blank = bytes[..end].iter().position(|byte| *byte == b' ')?;
    let id = bytes.get(end + 1..end + 21)?;
    let entry = TreeEntry {
        name: bytes[blank + 1..end].to_vec(),
        id: id.try_into().ok()?,
        is_tree: bytes[..blank] == *b"40000",
    };
    Some((entry, &bytes[end + 21..]))
}

/// Applies a delta: copies of parts of `base`, and new bytes.
fn patch(base: &[u8], delta: &[u8]) -> Option<Vec<u8>> {
    let mut delta = delta.iter().copied();
    let (from, to) = (delta_size(&mut delta)?, delta_size(&mut delta)?);
    if from != base.len() as u64 || to > OBJECT_MAX {
        return None;
    }
    let mut bytes = Vec::new();
    while let Some(command) = delta.next() {
        if command & 0x80 == 0 {
            let count = usize::from(command);
            bytes.extend(delta.by_ref().take(count));
            continue;
        }
        let mut number = |bits: &[u8]| {
            let mut number = 0_usize;
            for (place, bit) in bits.iter().enumerate() {
                if command & bit != 0 {
                    number |= usize::from(delta.next()?) << (8 * place);
                }
            }
            Some(number)
        };
        let offset = number(&[1, 2, 4, 8])?;
        let count = match number(&[16, 32, 64])? {
            0 => 0x1_0000,
            count => count,
        };
        bytes.extend_from_slice(base.get(offset..offset.checked_add(count)?)?);
        if bytes.len() as u64 > to {
            return None;
        }
    }
    (bytes.len() as u64 == to).then_some(bytes)
}

/// A size at the beginning of a delta.
fn delta_size(delta: &mut impl Iterator<Item = u8>) -> Option<u64> {
    let (mut size, mut shift) = (0_u64, 0);
    loop {
        let byte = delta.next()?;
        size |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 || shift > 56 {
            return Some(size);
        }
    }
}

fn broken(id: ObjectId) -> io::Error {
    io::Error::other(format!("the object {} can't be read", to_hex(id)))
}
