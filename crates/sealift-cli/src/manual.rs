//! Completion scripts and manual pages, from the same definitions as the help.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::{Arg, ArgAction, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use crate::args::{Cli, CompletionsArgs, ManArgs};
use crate::failure::{Action, Failure};

/// Prints a shell's completion script.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut command = Cli::command();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "sealift", &mut script);
    if args.shell == Shell::Bash {
        let text = String::from_utf8_lossy(&script);
        let ours = command.get_subcommands().filter(|subcommand| takes_names(subcommand));
        let text = ours
            .fold(text.into_owned(), |text, subcommand| offer_files(&text, subcommand.get_name()));
        script = text.into_bytes();
    }
    print(&script)
}

/// Whether the words of a command are the user's own, and not some of a list.
fn takes_names(command: &Command) -> bool {
    let mut words = command.get_positionals();
    words.any(|word| word.get_possible_values().is_empty())
}

/// For an empty first word the generated script offers flags and nothing else; without that, bash
/// falls back to its own completion, which offers files.
fn offer_files(script: &str, name: &str) -> String {
    let start = format!("        sealift__subcmd__{name})\n");
    let Some((before, after)) = script.split_once(&start) else { return script.to_owned() };
    let after = after.replacen(" || ${COMP_CWORD} -eq 2 ]]", " ]]", 1);
    // The line that ends the part for this command offers them again.
    let end = "\n            return 0\n            ;;";
    let offer = format!("COMPREPLY=( $(compgen -W \"${{opts}}\" -- \"${{cur}}\") ){end}");
    let after = after.replacen(&offer, &format!("COMPREPLY=(){end}"), 1);
    format!("{before}{start}{after}")
}

/// Prints one page with all commands, or writes a page for each command to a directory.
pub(crate) fn man(args: &ManArgs) -> Result<(), Failure> {
    // `help` has no page of its own: it shows what is in the others.
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    match &args.dir {
        None => print(rendered(whole(&command))?.as_bytes()),
        Some(directory) => {
            let failed = |error| Failure::system(Action::Create, directory.display(), error);
            fs::create_dir_all(directory).map_err(failed)?;
            write_pages(&command, directory)
        }
    }
}

fn write_pages(command: &Command, directory: &Path) -> Result<(), Failure> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let path = directory.join(format!("{name}.1"));
    let failed = |error| Failure::system(Action::Create, path.display(), error);
    fs::write(&path, rendered(page(command))?).map_err(failed)?;
    command.get_subcommands().try_for_each(|subcommand| write_pages(subcommand, directory))
}

fn rendered(page: io::Result<String>) -> Result<String, Failure> {
    page.map_err(|error| Failure::system(Action::Write, "the manual page", error))
}

/// The page of one command, which names the pages of its subcommands.
fn page(command: &Command) -> io::Result<String> {
    let mut text = head(command)? + &body(command)?;
    if command.has_subcommands() {
        text += &part(|to| Man::new(command.clone()).render_subcommands_section(to))?;
    }
    Ok(text + &after(command))
}

/// The page of a command with all that its subcommands' pages say.
fn whole(command: &Command) -> io::Result<String> {
    let mut text = head(command)? + &body(command)?;
    let mut left: Vec<&Command> = command.get_subcommands().collect();
    left.reverse();
    while let Some(subcommand) = left.pop() {
        left.extend(subcommand.get_subcommands().collect::<Vec<_>>().into_iter().rev());
        if !subcommand.has_subcommands() {
            let name = subcommand.get_bin_name().unwrap_or_else(|| subcommand.get_name());
            text += &bare(Roff::new().control("SH", [name.to_uppercase().as_str()]));
            let sections = body(subcommand)? + &after(subcommand);
            text += &sections.replace(".SH ", ".SS ");
        }
    }
    Ok(text + &after(command))
}

fn head(command: &Command) -> io::Result<String> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    // Written out, for an empty date would be lost and the version stand in its place; and a
    // subcommand would be taken for a program with a version of its own.
    let version = env!("CARGO_PKG_VERSION");
    let title = format!(".TH {name} 1 \"\" \"sealift {version}\"\n");
    let name = part(|to| Man::new(command.clone()).render_name_section(to))?;
    Ok(Roff::new().render() + &title + &name)
}

fn body(command: &Command) -> io::Result<String> {
    let man = Man::new(command.clone());
    let description = part(|to| man.render_description_section(to))?;
    Ok(synopsis(command) + &description + &part(|to| man.render_options_section(to))?)
}

/// What `render` writes, without what each text begins with.
fn part(render: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> io::Result<String> {
    let mut text = Vec::new();
    render(&mut text)?;
    Ok(without_preamble(&String::from_utf8_lossy(&text)))
}

fn bare(roff: &Roff) -> String {
    without_preamble(&roff.render())
}

fn without_preamble(text: &str) -> String {
    let preamble = Roff::new().render();
    text.strip_prefix(preamble.as_str()).unwrap_or(text).to_owned()
}

/// How the command is called, options with their values.
fn synopsis(command: &Command) -> String {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let mut line = vec![bold(name)];
    for option in command.get_arguments().filter(|argument| !argument.is_positional()) {
        let short = option.get_short().map(|short| format!("-{short}"));
        let long = option.get_long().map(|long| format!("--{long}"));
        let names: Vec<String> = [short, long].into_iter().flatten().collect();
        line.extend([roman(" ["), bold(names.join("|"))]);
        if option.is_require_equals_set() {
            line.extend([roman("[="), italic(value_name(option)), roman("]")]);
        } else if option.get_action().takes_values() {
            line.extend([roman(" "), italic(value_name(option))]);
        }
        let repeated = matches!(option.get_action(), ArgAction::Count);
        line.push(roman(if repeated { "]..." } else { "]" }));
    }
    for word in command.get_positionals() {
        line.extend([roman(" "), italic(value_name(word))]);
    }
    if command.has_subcommands() {
        line.extend([roman(" "), italic("COMMAND")]);
    }
    bare(Roff::new().control("SH", ["SYNOPSIS"]).text(line))
}

fn value_name(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" ")
}

/// What stands behind the options in the help: `Heading: text`, or a heading and examples, one a
/// line, each with its meaning after two spaces.
fn after(command: &Command) -> String {
    let help = command.get_after_long_help().or_else(|| command.get_after_help());
    let text = help.map(ToString::to_string).unwrap_or_default();
    let Some((heading, rest)) = text.split_once(':') else { return String::new() };
    let mut roff = Roff::new();
    roff.control("SH", [heading.to_uppercase().as_str()]);
    let Some(examples) = rest.strip_prefix('\n') else {
        return bare(roff.text([roman(rest.trim())]));
    };
    for line in examples.lines() {
        let (example, meaning) = line.trim().split_once("  ").unwrap_or((line.trim(), ""));
        // A command line must not be filled: it would break in the middle.
        roff.control("PP", []).control("EX", []).text([bold(example)]).control("EE", []);
        roff.control("RS", []).text([roman(meaning.trim())]).control("RE", []);
    }
    bare(&roff)
}

fn print(text: &[u8]) -> Result<(), Failure> {
    let written = io::stdout().write_all(text);
    written.map_err(|error| Failure::system(Action::Write, "standard output", error))
}
