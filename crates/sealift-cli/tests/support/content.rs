//! Files whose every byte says where it belongs, in a directory that goes away.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A directory of the test's own, removed with all that is in it.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("sealift-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The names in it, sorted.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// A file of `len` bytes of [`pattern`].
    pub fn file(&self, name: &str, len: usize) -> PathBuf {
        let path = self.join(name);
        let mut file = File::create(&path).unwrap();
        let mut at = 0;
        while at < len {
            let part = pattern(at, (len - at).min(1 << 20));
            file.write_all(&part).unwrap();
            at += part.len();
        }
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Bytes `at..at + len` of a sequence without zeros that does not repeat at any power of two.
pub fn pattern(at: usize, len: usize) -> Vec<u8> {
    (at..at + len).map(|position| (position % 251) as u8 + 1).collect()
}

/// Asserts that two files are the same, byte for byte.
pub fn assert_same(left: &Path, right: &Path) {
    let open = |path: &Path| File::open(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let (mut left_file, mut right_file) = (open(left), open(right));
    let lens = (left_file.metadata().unwrap().len(), right_file.metadata().unwrap().len());
    assert_eq!(lens.0, lens.1, "{left:?} and {right:?} differ in length");
    let (mut a, mut b) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut at = 0;
    while at < lens.0 {
        let part = (lens.0 - at).min(1 << 20) as usize;
        left_file.read_exact(&mut a[..part]).unwrap();
        right_file.read_exact(&mut b[..part]).unwrap();
        assert!(a[..part] == b[..part], "{left:?} and {right:?} differ from byte {at} on");
        at += part as u64;
    }
}
