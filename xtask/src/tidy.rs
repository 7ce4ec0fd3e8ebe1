//! The house's style, where a program can check it: sizes, names, and what must not be left over.

use std::fmt;
use std::fs;

use crate::dependencies;
use crate::manifest::Manifest;
use crate::source::{self, Source, item_end};
use crate::step::{Outcome, Run};

/// Lines of a file that are not tests.
const FILE_LINES: usize = 600;
/// Lines of a function, from its `fn` to its closing brace.
const FUNCTION_LINES: usize = 70;
/// Characters of a line.
const LINE_COLUMNS: usize = 100;

/// Files that may be longer than [`FILE_LINES`], each with its reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] =
    &["util", "utils", "common", "helper", "helpers", "misc", "manager", "managers"];

/// Marks of unfinished work, in two halves so that this file may hold them.
const LEFTOVERS: &[(&str, &str)] =
    &[("TO", "DO"), ("FIX", "ME"), ("XX", "X"), ("todo", "!"), ("unimpl", "emented!")];

/// Something that is wrong at a place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    path: String,
    /// From 1; 0 when it is about the whole file.
    line: usize,
    what: String,
}

impl Finding {
    pub(crate) fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}

/// Prints the findings; any at all is a failure.
pub(crate) fn report(findings: &[Finding]) -> Outcome {
    findings.iter().for_each(|finding| println!("{finding}"));
    match findings.len() {
        0 => Ok(()),
        1 => Err("1 finding".to_owned()),
        many => Err(format!("{many} findings")),
    }
}

pub(crate) fn run(run: &mut Run) -> Outcome {
    let mut findings = Vec::new();
    let code = source::read_all(&run.root, &["rs"])?;
    for source in &code {
        findings.extend(long_file(source));
        findings.extend(long_functions(source));
        findings.extend(wide_lines(source));
        findings.extend(unwraps(source));
        findings.extend(empty_names(source));
    }
    for document in source::read_all(&run.root, &["md"])? {
        findings.extend(absent_files(&document, &code));
    }
    for source in source::read_all(&run.root, &["rs", "toml", "md", "c", "sh"])? {
        findings.extend(leftovers(&source));
    }
    let document = fs::read_to_string(run.root.join("docs/dependencies.md"));
    let document = document.map_err(|error| format!("docs/dependencies.md: {error}"))?;
    findings.extend(dependencies::findings(&Manifest::read_all(&run.root)?, &document));
    report(&findings)
}

fn long_file(source: &Source) -> Option<Finding> {
    let lines = source.text.lines().count() - source.test_lines;
    let has_reason = LONG_FILES.iter().any(|(path, _reason)| *path == source.path);
    let is_ours = source.path.starts_with("crates/");
    let what = format!("{lines} lines without tests; {FILE_LINES} are the limit");
    (is_ours && !has_reason && lines > FILE_LINES).then(|| Finding::new(&source.path, 0, what))
}

fn long_functions(source: &Source) -> Vec<Finding> {
    let code: Vec<char> = source.shipped.chars().collect();
    let mut findings = Vec::new();
    let mut line = 1;
    for (at, c) in code.iter().enumerate() {
        line += usize::from(*c == '\n');
        let begins = at == 0 || code[at - 1].is_whitespace();
        if begins && code[at..].starts_with(&['f', 'n', ' ']) {
            let body = &code[at..item_end(&code, at)];
            let lines = body.iter().filter(|c| **c == '\n').count() + 1;
            if lines > FUNCTION_LINES {
                let name: String = body[3..].iter().take_while(|c| !"(<".contains(**c)).collect();
                let what = format!("fn {name} has {lines} lines; {FUNCTION_LINES} are the limit");
                findings.push(Finding::new(&source.path, line, what));
            }
        }
    }
    findings
}

/// A link cannot be broken; everything else can.
fn wide_lines(source: &Source) -> Vec<Finding> {
    let is_wide = |line: &str| line.chars().count() > LINE_COLUMNS && !line.contains("://");
    let wide = (1..).zip(source.text.lines()).filter(|(_, line)| is_wide(line));
    let what = format!("more than {LINE_COLUMNS} columns");
    wide.map(|(number, _)| Finding::new(&source.path, number, what.as_str())).collect()
}

fn unwraps(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for call in [".unwrap()", ".expect("] {
        for line in Source::lines_with(&source.shipped, call) {
            let what = format!("`{call}` outside tests");
            findings.push(Finding::new(&source.path, line, what));
        }
    }
    findings
}

fn leftovers(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (head, tail) in LEFTOVERS {
        let mark = format!("{head}{tail}");
        for line in Source::lines_with(&source.text, &mark) {
            findings.push(Finding::new(&source.path, line, format!("`{mark}` left over")));
        }
    }
    findings
}

fn empty_names(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let parts = source.path.split('/').map(|part| part.strip_suffix(".rs").unwrap_or(part));
    for name in parts.filter(|name| EMPTY_NAMES.contains(name)) {
        findings.push(Finding::new(&source.path, 0, format!("'{name}' is no name for a module")));
    }
    for name in EMPTY_NAMES {
        for line in Source::lines_with(&source.code, &format!("mod {name}")) {
            let what = format!("'{name}' is no name for a module");
            findings.push(Finding::new(&source.path, line, what));
        }
    }
    findings
}

/// Files of code that a document names and that are not there. The end of a path is enough.
fn absent_files(document: &Source, code: &[Source]) -> Vec<Finding> {
    let is_there = |end: &str| {
        let before = |source: &Source| source.path.strip_suffix(end).map(str::to_owned);
        code.iter().filter_map(before).any(|rest| rest.is_empty() || rest.ends_with('/'))
    };
    let mut findings = Vec::new();
    for (number, line) in (1..).zip(document.text.lines()) {
        let words = line.split(|c: char| !c.is_alphanumeric() && !"_-./".contains(c));
        let names = words.map(|word| word.trim_start_matches("../").trim_end_matches('.'));
        let is_file = |name: &str| name.len() > 3 && name.ends_with(".rs");
        for name in names.filter(|name| is_file(name) && !is_there(name)) {
            findings.push(Finding::new(&document.path, number, format!("there is no {name}")));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::new("crates/sealift-io/src/send/mod.rs", text)
    }

    fn body(lines: usize) -> String {
        format!("pub fn long<T>(x: [u8; 2]) {{\n{}}}\n", "    f();\n".repeat(lines - 2))
    }

    #[test]
    fn long_files_are_found_tests_apart() {
        let code = "fn a() {}\n";
        assert!(long_file(&source(&code.repeat(600))).is_none());
        assert!(long_file(&source(&code.repeat(601))).is_some());
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", code.repeat(600));
        assert!(long_file(&source(&format!("{code}{tests}"))).is_none());
        let exempt = Source::new("crates/sealift-io/tests/matrix.rs", &code.repeat(900));
        assert!(long_file(&exempt).is_none());
    }

    #[test]
    fn long_functions_are_found_by_name_and_line() {
        assert!(long_functions(&source(&body(70))).is_empty());
        let found = long_functions(&source(&format!("\n{}", body(71))));
        let what = "crates/sealift-io/src/send/mod.rs:2: fn long has 71 lines; 70 are the limit";
        assert_eq!(found[0].to_string(), what);
        let in_tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", body(200));
        assert!(long_functions(&source(&in_tests)).is_empty());
        let trait_of_many = format!("trait T {{\n{}}}\n", "    fn f(&self);\n".repeat(100));
        assert!(long_functions(&source(&trait_of_many)).is_empty());
    }

    #[test]
    fn wide_lines_are_found() {
        let line = |columns: usize| format!("// {}\n", "ü".repeat(columns - 3));
        assert!(wide_lines(&source(&line(100))).is_empty());
        assert_eq!(wide_lines(&source(&line(101))).len(), 1);
        let link = format!("// https://example.org/{}\n", "x".repeat(90));
        assert!(wide_lines(&source(&link)).is_empty());
    }

    #[test]
    fn unwraps_are_found_outside_tests() {
        assert_eq!(unwraps(&source("let a = b\n    .unwrap();\nc.expect(\"d\");")).len(), 2);
        assert!(unwraps(&source("a.unwrap_or(b); // .unwrap()\nlet s = \".expect(\";")).is_empty());
        assert!(unwraps(&source("#[cfg(test)]\nmod tests { fn f() { a.unwrap() } }")).is_empty());
        assert!(unwraps(&Source::new("crates/a/benches/b.rs", "a.unwrap()")).is_empty());
    }

    #[test]
    fn leftovers_are_found_in_comments_too() {
        for (head, tail) in LEFTOVERS {
            let text = format!("fn a() {{\n    // {head}{tail} later\n}}\n");
            let found = leftovers(&source(&text));
            assert_eq!(found.len(), 1, "{head}{tail}");
            assert_eq!(found[0].line, 2);
            assert!(leftovers(&source(&format!("// a{head}{tail}b"))).is_empty());
        }
    }

    #[test]
    fn files_that_documents_name_must_be_there() {
        let code = ["xtask/src/lab.rs", "crates/a/src/send/machine.rs", "crates/a/src/send/mod.rs"]
            .map(|path| Source::new(path, ""));
        let found = |text: &str| {
            let findings = absent_files(&Source::new("ARCHITECTURE.md", text), &code);
            findings.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let good = "`send/machine.rs`, (machine.rs) and ../xtask/src/lab.rs. Not `*.rs` nor rs.";
        assert_eq!(found(good), [""; 0]);
        let gone = "ARCHITECTURE.md:2: there is no send/simulation.rs";
        assert_eq!(found("\nas in `send/simulation.rs`"), [gone]);
        assert_eq!(found("chine.rs").len(), 1);
    }

    #[test]
    fn empty_names_are_found() {
        let found = |path: &str, text: &str| empty_names(&Source::new(path, text)).len();
        assert_eq!(found("crates/a/src/util.rs", ""), 1);
        assert_eq!(found("crates/a/src/common/mod.rs", ""), 1);
        assert_eq!(found("crates/a/tests/helpers/mod.rs", ""), 1);
        assert_eq!(found("crates/a/src/lib.rs", "pub(crate) mod misc;\nmod manager {}"), 2);
        assert_eq!(found("crates/a/src/lib.rs", "mod utility;\n// mod util;"), 0);
    }
}
