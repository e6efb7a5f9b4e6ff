//! One value for each of a job's two output streams.

use std::ops::{Index, IndexMut};

use crate::Stream;

/// A value for stdout and one for stderr, indexed by [`Stream`].
///
/// ```
/// use hyprbox_protocol::{PerStream, Stream};
///
/// let mut bytes = PerStream::new(3_u64, 0);
/// bytes[Stream::Stderr] += 5;
/// assert_eq!(bytes, PerStream::new(3, 5));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct PerStream<T>([T; 2]);

impl<T> PerStream<T> {
    /// The value for stdout, then the value for stderr.
    pub const fn new(stdout: T, stderr: T) -> Self {
        Self([stdout, stderr])
    }

    /// Computes the value for each stream, stdout first.
    pub fn from_fn(value: impl FnMut(Stream) -> T) -> Self {
        Self(Stream::ALL.map(value))
    }

    /// Converts both values, stdout first.
    pub fn map<U>(self, convert: impl FnMut(T) -> U) -> PerStream<U> {
        PerStream(self.0.map(convert))
    }

    /// The value for stdout, then the value for stderr.
    pub fn into_values(self) -> [T; 2] {
        self.0
    }

    /// Both values with their streams, stdout first.
    pub fn iter(&self) -> impl Iterator<Item = (Stream, &T)> {
        Stream::ALL.into_iter().zip(&self.0)
    }

    /// Both values with their streams, stdout first, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Stream, &mut T)> {
        Stream::ALL.into_iter().zip(&mut self.0)
    }
}

impl<T> Index<Stream> for PerStream<T> {
    type Output = T;

    fn index(&self, stream: Stream) -> &T {
        let [stdout, stderr] = &self.0;
        match stream {
            Stream::Stdout => stdout,
            Stream::Stderr => stderr,
        }
    }
}

impl<T> IndexMut<Stream> for PerStream<T> {
    fn index_mut(&mut self, stream: Stream) -> &mut T {
        let [stdout, stderr] = &mut self.0;
        match stream {
            Stream::Stdout => stdout,
            Stream::Stderr => stderr,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stream_has_its_own_value() {
        let names = PerStream::from_fn(Stream::as_str);
        assert_eq!(names, PerStream::new("stdout", "stderr"));
        assert_eq!(names[Stream::Stderr], "stderr");
        assert_eq!(names.map(str::len), PerStream::new(6, 6));
    }

    #[test]
    fn iteration_names_the_stream() {
        let mut counts = PerStream::new(1, 2);
        for (stream, count) in counts.iter_mut() {
            *count += stream.as_str().len();
        }
        let pairs: Vec<_> = counts.iter().collect();
        assert_eq!(pairs, [(Stream::Stdout, &7), (Stream::Stderr, &8)]);
    }
}
