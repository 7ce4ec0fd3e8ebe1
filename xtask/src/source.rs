//! A source file as the checks see it: comments, strings and test items can be told from code.
//!
//! Blanking keeps every line where it was, so that a finding can name its line.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::step::Outcome;

/// Directories that hold nothing of ours.
const NOT_OURS: &[&str] = &[".git", "target", "corpus", "artifacts", "cache"];

/// One file, and three views of it with the same lines.
pub(crate) struct Source {
    /// Relative to the project's root, with `/`.
    pub(crate) path: String,
    /// As written.
    pub(crate) text: String,
    /// Without comments, strings and character literals.
    pub(crate) code: String,
    /// `code` without test items: what a user of the crate gets.
    pub(crate) shipped: String,
    /// Lines that test items take.
    pub(crate) test_lines: usize,
    /// Files, and directories with a `/` at the end, of modules declared under `#[cfg(test)]`.
    test_files: Vec<String>,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = blank_words(text);
        let mut shipped: Vec<char> = code.chars().collect();
        let written: Vec<char> = text.chars().collect();
        let mut test_lines = 0;
        let mut test_files = Vec::new();
        for range in test_items(&shipped) {
            let item: String = written[range.clone()].iter().collect();
            test_lines += item.lines().count();
            test_files.extend(module_files(path, &item).into_iter().flatten());
            blank(&mut shipped[range]);
        }
        let mut source = Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
            shipped: shipped.into_iter().collect(),
            test_lines,
            test_files,
        };
        if !source.is_in_crate_sources() {
            source.empty_shipped();
        }
        source
    }

    /// Whether the file is compiled into a library or a command: `…/src/…` or an example.
    pub(crate) fn is_in_crate_sources(&self) -> bool {
        let mut parts = self.path.split('/');
        match parts.next() {
            Some("crates") => matches!(parts.nth(1), Some("src" | "examples")),
            Some("xtask") => parts.next() == Some("src"),
            _ => false,
        }
    }

    /// Treats the whole file as a test.
    fn empty_shipped(&mut self) {
        self.test_lines = self.text.lines().count();
        self.shipped = String::new();
    }

    /// The numbers of the lines of `view` that hold `word` on its own.
    pub(crate) fn lines_with(view: &str, word: &str) -> Vec<usize> {
        let holds =
            |line: &str| line.match_indices(word).any(|(at, _)| stands_alone(line, at, word));
        (1..).zip(view.lines()).filter(|(_, line)| holds(line)).map(|(number, _)| number).collect()
    }
}

/// Every file of the project with one of these extensions, sorted by path.
pub(crate) fn read_all(root: &Path, extensions: &[&str]) -> Outcome<Vec<Source>> {
    let mut paths = Vec::new();
    walk(root, extensions, &mut paths)?;
    paths.sort();
    let mut sources = Vec::new();
    for path in paths {
        let text = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        sources.push(Source::new(&relative, &String::from_utf8_lossy(&text)));
    }
    let tests: BTreeSet<String> =
        sources.iter().flat_map(|source| source.test_files.iter().cloned()).collect();
    for source in &mut sources {
        let is_test = |test: &String| {
            source.path == *test || (test.ends_with('/') && source.path.starts_with(test))
        };
        if tests.iter().any(is_test) {
            source.empty_shipped();
        }
    }
    Ok(sources)
}

fn walk(directory: &Path, extensions: &[&str], paths: &mut Vec<PathBuf>) -> Outcome {
    let failed = |error| format!("{}: {error}", directory.display());
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let extension = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
        if path.is_symlink() || NOT_OURS.contains(&name) {
            continue;
        } else if path.is_dir() {
            walk(&path, extensions, paths)?;
        } else if extensions.contains(&extension) {
            paths.push(path);
        }
    }
    Ok(())
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn stands_alone(line: &str, at: usize, word: &str) -> bool {
    let before = line[..at].chars().next_back().is_some_and(is_word);
    let after = line[at + word.len()..].chars().next().is_some_and(is_word);
    // Only a word can run on into another; `.unwrap()` cannot.
    let runs_on = (before && word.starts_with(is_word)) || (after && word.ends_with(is_word));
    !runs_on
}

fn blank(chars: &mut [char]) {
    chars.iter_mut().filter(|c| **c != '\n').for_each(|c| *c = ' ');
}

/// `text` with comments, strings and character literals blanked.
fn blank_words(text: &str) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        match end {
            Some(end) => {
                let end = end.min(chars.len());
                blank(&mut chars[at..end]);
                at = end;
            }
            None => at += 1,
        }
    }
    chars.into_iter().collect()
}

/// Where the comment, string or character literal that begins at `at` ends, if one does.
fn literal_end(chars: &[char], at: usize) -> Option<usize> {
    let is = |offset: usize, c: char| chars.get(at + offset) == Some(&c);
    match chars[at] {
        '/' if is(1, '/') => Some(find(chars, at, |rest| rest[0] == '\n')),
        '/' if is(1, '*') => Some(block_comment_end(chars, at)),
        '"' => Some(string_end(chars, at + 1)),
        'r' if at == 0 || !is_word(chars[at - 1]) || is_string_prefix(chars, at) => {
            let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
            let open = at + 1 + hashes;
            let close: Vec<char> = format!("\"{}", "#".repeat(hashes)).chars().collect();
            (chars.get(open) == Some(&'"'))
                .then(|| find(chars, open + 1, |rest| rest.starts_with(&close)) + close.len())
        }
        '\'' if is(1, '\\') => Some(find(chars, at + 3, |rest| rest[0] == '\'') + 1),
        '\'' if is(2, '\'') => Some(at + 3),
        _ => None,
    }
}

/// Whether the `r` at `at` ends a prefix `br` or `cr`.
fn is_string_prefix(chars: &[char], at: usize) -> bool {
    let alone = at < 2 || !is_word(chars[at - 2]);
    alone && matches!(chars[at - 1], 'b' | 'c')
}

fn find(chars: &[char], from: usize, is_end: impl Fn(&[char]) -> bool) -> usize {
    (from..chars.len()).find(|at| is_end(&chars[*at..])).unwrap_or(chars.len())
}

fn string_end(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// Block comments nest.
fn block_comment_end(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        let step = match chars[at..] {
            ['/', '*', ..] => 1,
            ['*', '/', ..] => -1,
            _ => 0,
        };
        depth += step;
        at += if step == 0 { 1 } else { 2 };
        if depth == 0 {
            break;
        }
    }
    at
}

/// The items under `#[cfg(test)]` or `#[cfg(all(test, …))]`, attribute included.
fn test_items(code: &[char]) -> Vec<Range<usize>> {
    let marks = ["#[cfg(test)]", "#[cfg(all(test"].map(|mark| mark.chars().collect::<Vec<char>>());
    let mut items: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    while at < code.len() {
        if marks.iter().any(|mark| code[at..].starts_with(mark)) {
            let end = item_end(code, at);
            items.push(at..end);
            at = end;
        } else {
            at += 1;
        }
    }
    items
}

/// Where the item that begins at `at` ends: after its `;`, or after its matching `}`.
pub(crate) fn item_end(code: &[char], at: usize) -> usize {
    let mut nesting = 0;
    let mut in_body = false;
    for (offset, c) in code[at..].iter().enumerate() {
        match c {
            '{' if nesting == 0 => in_body = true,
            ';' if nesting == 0 && !in_body => return at + offset + 1,
            _ => {}
        }
        match c {
            '(' | '[' | '{' => nesting += 1,
            ')' | ']' | '}' => nesting -= 1,
            _ => {}
        }
        if in_body && nesting == 0 {
            return at + offset + 1;
        }
    }
    code.len()
}

/// Where the body of an item `… mod name;` is, when the file at `path` declares it.
fn module_files(path: &str, item: &str) -> Option<[String; 2]> {
    let path = Path::new(path);
    let directory = path.parent()?;
    let words: Vec<&str> = item.trim().strip_suffix(';')?.split_whitespace().collect();
    let [.., "mod", name] = words[..] else { return None };
    let body = match item.split_once("#[path = \"") {
        Some((_, rest)) => directory.join(rest.split_once(".rs\"")?.0),
        None if matches!(path.file_stem()?.to_str()?, "lib" | "main" | "mod") => {
            directory.join(name)
        }
        None => path.with_extension("").join(name),
    };
    let body = body.to_string_lossy();
    Some([format!("{body}.rs"), format!("{body}/")])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::new("crates/a/src/b.rs", text)
    }

    #[test]
    fn comments_and_literals_are_not_code() {
        let text =
            "a /* x /* y */ z */ b // c\n\"d\\\"e\" f r#\"g\"h\"# i 'j' '\\'' &'k l b\"m\" br\"n\"";
        let words: Vec<_> = source(text).code.split_whitespace().map(str::to_owned).collect();
        assert_eq!(words, ["a", "b", "f", "i", "&'k", "l", "b", "b"]);
        assert_eq!(source(text).code.lines().count(), 2);
    }

    #[test]
    fn an_open_literal_ends_with_the_file() {
        for text in ["\"abc", "/* abc", "r#\"abc\"", "'\\", "\"abc\\"] {
            assert!(source(text).code.trim().len() <= 1, "{text}");
        }
    }

    #[test]
    fn test_items_are_not_shipped() {
        let text = "fn a() {}\n#[cfg(test)]\nuse x;\n#[cfg(all(test, unix))]\nmod tests {\n    \
                    fn b() { {} }\n}\nfn c() {}\n";
        let source = source(text);
        let words: Vec<_> = source.shipped.split_whitespace().collect();
        assert_eq!(words, ["fn", "a()", "{}", "fn", "c()", "{}"]);
        assert_eq!(source.test_lines, 6);
    }

    #[test]
    fn test_modules_name_their_files() {
        let text = "#[cfg(test)]\nmod simulation;\n#[cfg(test)]\nmod inline {}\n";
        let files = ["crates/a/src/b/simulation.rs", "crates/a/src/b/simulation/"];
        assert_eq!(source(text).test_files, files);
        let root = Source::new("crates/a/src/lib.rs", text);
        assert_eq!(root.test_files[0], "crates/a/src/simulation.rs");
        let elsewhere = source("#[cfg(test)]\n#[path = \"b_tests.rs\"]\nmod tests;\n");
        assert_eq!(elsewhere.test_files[0], "crates/a/src/b_tests.rs");
    }

    #[test]
    fn only_crate_sources_are_shipped() {
        for path in ["crates/a/tests/b.rs", "crates/a/benches/b.rs", "fuzz/fuzz_targets/b.rs"] {
            let source = Source::new(path, "fn a() {}\n");
            assert_eq!((source.shipped.as_str(), source.test_lines), ("", 1), "{path}");
        }
    }

    #[test]
    fn a_word_is_found_only_on_its_own() {
        let view = "unsafe_code\nunsafe {\nnot_unsafe\n x.unwrap()y\n";
        assert_eq!(Source::lines_with(view, "unsafe"), [2]);
        assert_eq!(Source::lines_with(view, ".unwrap()"), [4]);
    }
}
