//! Help, manual pages and completions are made from the same definitions, and read well.

mod support;

use std::fs;
use std::path::Path;

use support::*;

const COMMANDS: [&str; 7] = ["send", "receive", "tunnel", "probe", "bench", "completions", "man"];

fn stdout(arguments: &[&str]) -> String {
    let output = run(sealift().args(arguments).env("COLUMNS", "80"));
    assert_done(&output);
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn help_names_every_command_and_fits() {
    let help = stdout(&["--help"]);
    for command in COMMANDS {
        assert!(help.contains(&format!("\n  {command} ")), "{command}: {help}");
        let short = stdout(&[command, "-h"]);
        let long = stdout(&[command, "--help"]);
        assert!(short.contains("Usage: sealift"), "{short}");
        assert!(long.len() >= short.len());
        for line in short.lines().chain(long.lines()) {
            assert!(line.chars().count() <= 100, "{line}");
        }
    }
    for command in ["send", "receive", "tunnel"] {
        assert!(stdout(&[command, "--help"]).contains("Examples:"));
        assert!(!stdout(&[command, "-h"]).contains("Examples:"));
    }
}

#[test]
fn help_that_cannot_be_written_is_a_failure() {
    for arguments in
        [&["--help"][..], &["-h"], &["--version"], &["help"], &["help", "send"], &["send", "-h"]]
    {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = run(sealift().args(arguments).stdout(full));
        assert_failed(&output, "write on standard output: No space left on device; free");
    }
}

#[test]
fn version_is_the_package_version() {
    assert_eq!(stdout(&["--version"]), format!("sealift {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn every_command_has_its_page() {
    let page = stdout(&["man"]);
    assert!(page.contains(".TH sealift 1"), "{page}");
    for word in ["keep\\-partial", "backend", "sealift receive tcp://:5000 disk.img"] {
        assert!(page.contains(word), "{word}: {page}");
    }
    let scratch = Scratch::new();
    let pages = scratch.join("man1");
    stdout(&["man", "--dir", pages.to_str().unwrap()]);
    for name in [
        "sealift",
        "sealift-send",
        "sealift-receive",
        "sealift-bench-send",
        "sealift-bench-seal",
        "sealift-bench-tls",
    ] {
        let page = fs::read_to_string(pages.join(format!("{name}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{name}: {page}");
        let title = format!(".TH {name} 1 \"\" \"sealift {}\"\n", env!("CARGO_PKG_VERSION"));
        assert!(page.contains(&title), "{page}");
        let named = page.lines().filter_map(|line| line.strip_suffix("(1)"));
        for other in named.map(|name| name.replace('\\', "")) {
            assert!(pages.join(format!("{other}.1")).exists(), "{name} names {other}");
        }
    }
    if let Some(why) = missing("groff") {
        return skip("every_command_has_its_page: groff", &why);
    }
    for page in fs::read_dir(&pages).unwrap() {
        let path = page.unwrap().path();
        let output = run(quiet("groff").args(["-man", "-Tutf8", "-ww", "-z"]).arg(path));
        assert_done(&output);
    }
}

#[test]
fn pages_keep_command_lines_whole_and_name_values() {
    let scratch = Scratch::new();
    stdout(&["man", "--dir", scratch.path().to_str().unwrap()]);
    let page = fs::read_to_string(scratch.join("sealift-send.1")).unwrap();
    let value = r"[\fB\-\-backend\fR \fIBACKEND\fR]";
    assert!(page.contains(value), "{page}");
    let example = ".EX\n\\fBsealift send disk.img tcp://backup:5000\\fR\n.EE\n";
    assert!(page.contains(".SH EXAMPLES\n") && page.contains(example), "{page}");
    let page = fs::read_to_string(scratch.join("sealift.1")).unwrap();
    assert!(page.contains(".SH \"EXIT CODES\"\n0 done, 1 failed"), "{page}");
}

/// What bash offers for the word after `words`; nothing means files.
fn offered(script: &Path, words: &str) -> String {
    let asked = format!(
        "source {}; COMP_WORDS=(sealift {words} ''); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
         _sealift sealift '' \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[*]}}\"",
        script.display()
    );
    let output = run(quiet("bash").args(["-c", &asked]));
    assert_done(&output);
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn bash_offers_files_where_a_name_is_due() {
    if let Some(why) = missing("bash") {
        return skip("bash_offers_files_where_a_name_is_due", &why);
    }
    let scratch = Scratch::new();
    let script = scratch.join("bash");
    fs::write(&script, stdout(&["completions", "bash"])).unwrap();
    for words in ["send", "receive", "send file", "receive tcp://h:1", "send --listen"] {
        assert_eq!(offered(&script, words), "", "{words}");
    }
    for (words, word) in [("", "receive"), ("bench", "send"), ("completions", "zsh")] {
        assert!(offered(&script, words).contains(word), "{words}");
    }
    assert!(offered(&script, "send --backend").contains("msg-zerocopy"));
}

#[test]
fn completions_are_understood_by_their_shells() {
    let scratch = Scratch::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = stdout(&["completions", shell]);
        assert!(script.contains("receive"), "{shell}");
        if !["bash", "zsh", "fish"].contains(&shell) {
            continue;
        }
        if let Some(why) = missing(shell) {
            skip(&format!("completions_are_understood_by_their_shells: {shell}"), &why);
            continue;
        }
        let path = scratch.join(shell);
        fs::write(&path, script).unwrap();
        assert_done(&run(quiet(shell).arg("-n").arg(&path)));
    }
}

#[test]
fn probe_prints_a_table_and_json() {
    let table = stdout(&["probe"]);
    assert!(table.contains("Linux ") && table.contains("SEND_ZC"), "{table}");
    let both = stdout(&["probe", "--to", "127.0.0.1"]);
    assert!(both.contains("To 127.0.0.1"), "{both}");
    let json: serde_json::Value =
        serde_json::from_str(&stdout(&["probe", "--to", "127.0.0.1", "--json"])).unwrap();
    assert!(json["findings"].as_array().unwrap().len() > 10);
    assert_eq!(json["paths"][0]["destination"], "127.0.0.1");
    assert_eq!(json["paths"][0]["zero_copy"]["verdict"], "no");
}
