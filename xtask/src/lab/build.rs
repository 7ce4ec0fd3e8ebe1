//! Builds what runs inside the machine, with cargo, on this one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::step::{Outcome, Run, capture};

/// Packages whose programs go into the machine, for the extra checks.
const PROGRAM_PACKAGES: [&str; 1] = ["sealift-cli"];

/// What is tested: the packages, and which of their tests.
const TESTED: [(&str, &[&str]); 2] = [
    ("sealift-io", &["--lib", "--tests"]),
    ("sealift-tls", &["--test", "ktls", "--test", "ktls_halves"]),
];

/// Emulation is slow, and plain debug code three times slower still. Assertions stay; only this
/// crate is built again.
const OPTIMISED: &str = "profile.test.package.sealift-io.opt-level=1";

/// Something executable, and what to call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binary {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

/// The test binaries whose name contains a word of `filter`, or all: unit tests, and files below
/// `tests`.
pub(crate) fn tests(run: &Run, filter: &[String]) -> Outcome<Vec<Binary>> {
    let mut found = Vec::new();
    for (package, which) in TESTED {
        let mut cargo = run.cargo(["test", "--no-run", "--package", package, "--all-features"]);
        found.extend(executables(cargo.args(["--config", OPTIMISED]).args(which), true)?);
    }
    found.retain(|test| filter.is_empty() || filter.iter().any(|word| test.name.contains(word)));
    if found.is_empty() {
        return Err("there is no such test binary".to_owned());
    }
    Ok(found)
}

/// The programs that the extra checks call.
pub(crate) fn programs(run: &Run) -> Outcome<Vec<Binary>> {
    let mut found = Vec::new();
    for package in PROGRAM_PACKAGES {
        found
            .extend(executables(&mut run.cargo(["build", "--bins", "--package", package]), false)?);
    }
    Ok(found)
}

fn executables(cargo: &mut Command, tests: bool) -> Outcome<Vec<Binary>> {
    // A person may watch the progress; standard output is for the messages.
    let messages = capture(cargo.arg("--message-format=json").stderr(Stdio::inherit()))?;
    Ok(messages.lines().filter_map(|line| executable(line, tests)).collect())
}

/// The executable that one of cargo's JSON messages announces, if it is a test or not as asked.
fn executable(message: &str, test: bool) -> Option<Binary> {
    if !message.starts_with(r#"{"reason":"compiler-artifact""#) {
        return None;
    }
    // `target` has a `test` of its own, which says only that it could be tested.
    let profile = message.split_once(r#""profile":{"#)?.1.split('}').next()?;
    if profile.contains(r#""test":true"#) != test {
        return None;
    }
    let path = PathBuf::from(string_field(message, "executable")?);
    let file = path.file_name()?.to_string_lossy().into_owned();
    let name = match file.rsplit_once('-') {
        Some((name, _hash)) if test => name.to_string(),
        _ => file,
    };
    Some(Binary { name, path })
}

/// The string under `key` in one line of JSON, where the key occurs once.
fn string_field(line: &str, key: &str) -> Option<String> {
    let rest = line.split_once(&format!(r#""{key}":""#))?.1;
    let mut value = String::new();
    let mut letters = rest.chars();
    loop {
        match letters.next()? {
            '"' => return Some(value),
            '\\' => value.push(letters.next()?),
            letter => value.push(letter),
        }
    }
}

/// The shared libraries that a program loads, with the loader, as `ldd` names them.
pub(crate) fn libraries(program: &Path) -> Outcome<Vec<PathBuf>> {
    // `ldd` fails on a static program; it needs nothing then.
    match capture(Command::new("ldd").arg(program).env("LC_ALL", "C")) {
        Ok(text) => library_paths(&text)
            .map_err(|name| format!("{} needs {name}, which is not here", program.display())),
        Err(error) if error.contains("not a dynamic executable") => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The paths in what `ldd` printed, or the name of a library that it did not find.
fn library_paths(text: &str) -> Result<Vec<PathBuf>, String> {
    let mut paths = Vec::new();
    for line in text.lines() {
        let named = line.split(" (0x").next().unwrap_or(line).trim();
        let path = match named.split_once(" => ") {
            Some((name, "not found")) => return Err(name.to_string()),
            Some((_, path)) => path,
            None => named,
        };
        // The kernel's own `linux-vdso.so.1` has no path.
        if path.starts_with('/') {
            paths.push(PathBuf::from(path));
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEST: &str = concat!(
        r#"{"reason":"compiler-artifact","package_id":"p","target":{"kind":["lib"],"#,
        r#""name":"sealift_io","test":true},"profile":{"opt_level":"0","test":true},"#,
        r#""executable":"/target/debug/deps/sealift_io-0a1b","fresh":false}"#
    );

    #[test]
    fn test_binaries_are_found_in_messages() {
        let binary = executable(TEST, true).unwrap();
        assert_eq!(binary.name, "sealift_io");
        assert_eq!(binary.path, Path::new("/target/debug/deps/sealift_io-0a1b"));
        assert_eq!(executable(TEST, false), None);
    }

    #[test]
    fn programs_keep_their_whole_name() {
        let message = TEST
            .replace(r#""opt_level":"0","test":true"#, r#""opt_level":"0","test":false"#)
            .replace("deps/sealift_io-0a1b", "a-b");
        assert_eq!(executable(&message, false).unwrap().name, "a-b");
        assert_eq!(executable(&message, true), None);
    }

    #[test]
    fn other_messages_announce_nothing() {
        let library = TEST.replace(r#""/target/debug/deps/sealift_io-0a1b""#, "null");
        assert_eq!(executable(&library, true), None);
        assert_eq!(executable(r#"{"reason":"build-finished","success":true}"#, true), None);
    }

    #[test]
    fn strings_are_unescaped() {
        assert_eq!(string_field(r#"{"a":"x\\y\"z"}"#, "a").unwrap(), r#"x\y"z"#);
        assert_eq!(string_field(r#"{"a":"cut"#, "a"), None);
    }

    #[test]
    fn libraries_and_the_loader_are_found() {
        let text = "\tlinux-vdso.so.1 (0x00007ffd)\n\
                    \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(library_paths(text).unwrap(), expected.map(PathBuf::from));
        assert_eq!(library_paths("\tstatically linked\n").unwrap(), Vec::<PathBuf>::new());
        assert_eq!(library_paths("\tlibx.so => not found\n").unwrap_err(), "libx.so");
    }
}
