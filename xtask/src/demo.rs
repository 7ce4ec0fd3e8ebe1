//! `cargo xtask demo`: the main job once, for a newcomer to see. A file goes from one `sealift`
//! process to another over loopback; the copy is compared and the figures are printed.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::step::{Outcome, Run, execute};

const FILE_BYTES: usize = 1 << 30;
const BLOCK_BYTES: usize = 1 << 20;

pub(crate) fn run(run: &mut Run) -> Outcome {
    execute(&mut run.cargo(["build", "--release", "--package", "sealift-cli"]))?;
    let sealift = run.root.join("target/release/sealift");
    let place = Place::new(&run.root)?;
    let (original, copy) = (place.0.join("original"), place.0.join("copy"));
    println!("making {} of 1 GiB", original.display());
    make(&original)?;

    let mut receiver = Receiver::start(&sealift, &copy)?;
    let url = receiver.url()?;
    println!("$ sealift receive {url} {}", copy.display());
    execute(Command::new(&sealift).args(["send", "--stats"]).arg(&original).arg(&url))?;
    receiver.finish()?;
    if !equal(&original, &copy)? {
        return Err("the copy differs from the original".to_owned());
    }
    println!("verified: the copy equals the original");
    Ok(())
}

/// A directory for the files, in memory if there is room; removed at the end.
struct Place(PathBuf);

impl Place {
    fn new(root: &Path) -> Outcome<Self> {
        let name = format!("sealift-demo-{}", std::process::id());
        let in_memory = Path::new("/dev/shm");
        let parent = if in_memory.is_dir() { in_memory.to_path_buf() } else { root.join("target") };
        let place = parent.join(name);
        fs::create_dir_all(&place).map_err(|why| format!("{}: {why}", place.display()))?;
        Ok(Self(place))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Left-overs in a directory of temporary files are no reason to fail.
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Receiver(Child);

impl Receiver {
    fn start(sealift: &Path, copy: &Path) -> Outcome<Self> {
        let mut command = Command::new(sealift);
        command.args(["receive", "tcp://127.0.0.1:0"]).arg(copy).stderr(Stdio::piped());
        command.spawn().map(Self).map_err(|why| format!("{}: {why}", sealift.display()))
    }

    /// Where it listens, from the line in which it says so.
    fn url(&mut self) -> Outcome<String> {
        let said = self.0.stderr.take().ok_or("the receiver has no stderr")?;
        let mut line = String::new();
        BufReader::new(said).read_line(&mut line).map_err(|why| format!("receive: {why}"))?;
        let url = line.split_ascii_whitespace().find(|word| word.starts_with("tcp://"));
        url.map(str::to_owned).ok_or_else(|| format!("receive: {}", line.trim()))
    }

    fn finish(&mut self) -> Outcome {
        let status = self.0.wait().map_err(|why| format!("receive: {why}"))?;
        if status.success() { Ok(()) } else { Err(format!("receive: {status}")) }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // It has ended already unless something failed before.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Fills a file with content that no two blocks share.
fn make(path: &Path) -> Outcome {
    let failed = |why| format!("{}: {why}", path.display());
    let mut file = File::create(path).map_err(failed)?;
    let mut block = vec![0; BLOCK_BYTES];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..FILE_BYTES / BLOCK_BYTES {
        for word in block.as_chunks_mut::<8>().0 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *word = state.to_le_bytes();
        }
        file.write_all(&block).map_err(failed)?;
    }
    Ok(())
}

/// Whether two files have the same bytes.
fn equal(one: &Path, other: &Path) -> Outcome<bool> {
    let open = |path: &Path| File::open(path).map_err(|why| format!("{}: {why}", path.display()));
    let (mut one, mut other) = (open(one)?, open(other)?);
    let mut blocks = [vec![0; BLOCK_BYTES], vec![0; BLOCK_BYTES]];
    loop {
        let [a, b] = &mut blocks;
        let filled = fill(&mut one, a)?;
        if fill(&mut other, b)? != filled || a[..filled] != b[..filled] {
            return Ok(false);
        }
        if filled == 0 {
            return Ok(true);
        }
    }
}

fn fill(file: &mut File, block: &mut [u8]) -> Outcome<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match file.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(why) => return Err(format!("read: {why}")),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_differ_anywhere_are_not_equal() {
        let place = Place(std::env::temp_dir().join(format!("xtask-demo-{}", std::process::id())));
        fs::create_dir_all(&place.0).unwrap();
        let (one, other) = (place.0.join("one"), place.0.join("other"));
        let mut bytes = vec![7; BLOCK_BYTES + 5];
        fs::write(&one, &bytes).unwrap();
        fs::write(&other, &bytes).unwrap();
        assert!(equal(&one, &other).unwrap());
        bytes[BLOCK_BYTES + 4] = 8;
        fs::write(&other, &bytes).unwrap();
        assert!(!equal(&one, &other).unwrap());
        fs::write(&other, &bytes[..BLOCK_BYTES]).unwrap();
        assert!(!equal(&one, &other).unwrap());
    }
}
