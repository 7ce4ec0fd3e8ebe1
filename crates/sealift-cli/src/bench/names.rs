//! The names of rows, and those that `--row` takes: whole ones, or their beginnings up to a slash.

use super::rows::Row;

/// Keeps the rows that are wanted: all, if none is named.
pub(super) fn keep(rows: &mut Vec<Row>, wanted: &[String]) {
    let is_wanted = |row: &Row| wanted.iter().any(|wanted| begins(&row.name, wanted));
    rows.retain(|row| wanted.is_empty() || is_wanted(row));
}

/// The first name that is no row's, with those that there are in its place.
pub(super) fn unknown(rows: &[Row], wanted: &[String]) -> Option<(String, Vec<String>)> {
    let names: Vec<&str> = rows.iter().map(|row| &*row.name).collect();
    let is_known = |wanted: &&String| names.iter().any(|name| begins(name, wanted));
    let unknown = wanted.iter().find(|wanted| !is_known(wanted))?;
    Some((unknown.clone(), instead(&names, unknown)))
}

/// The names, up to the part in which `wanted` leaves them.
fn instead(names: &[&str], wanted: &str) -> Vec<String> {
    let slashes = wanted.rmatch_indices('/').map(|(at, _)| &wanted[..at]);
    let mut beginnings = slashes.filter(|part| names.iter().any(|name| begins(name, part)));
    let known = beginnings.next().unwrap_or_default();
    let mut found = Vec::new();
    for name in names {
        let rest = match known {
            "" => Some(*name),
            known => name.strip_prefix(known).and_then(|rest| rest.strip_prefix('/')),
        };
        let Some(rest) = rest else { continue };
        let end = name.len() - rest.find('/').map_or(0, |at| rest.len() - at);
        if !found.iter().any(|other| *other == name[..end]) {
            found.push(name[..end].to_owned());
        }
    }
    found
}

/// Whether `name` is `beginning`, or goes on behind it with a slash.
fn begins(name: &str, beginning: &str) -> bool {
    name.strip_prefix(beginning).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_chosen_by_whole_parts_of_their_names() {
        assert!(begins("inline/aes-128-gcm/64", "inline"));
        assert!(begins("inline/aes-128-gcm/64", "inline/aes-128-gcm/64"));
        assert!(!begins("inline/aes-128-gcm/64", "in"));
        assert!(!begins("inline/aes-128-gcm/64", "inline/aes-128-gcm/6"));
        assert!(!begins("inline/aes-128-gcm/64", ""));
    }

    #[test]
    fn a_wrong_name_is_told_what_there_is_where_it_goes_wrong() {
        let names = ["raw/a/1", "raw/b/1", "inline/a/1", "inline/a/2", "inline/a/2/batch-1"];
        assert_eq!(instead(&names, "fast"), ["raw", "inline"]);
        assert_eq!(instead(&names, "fast/a"), ["raw", "inline"]);
        assert_eq!(instead(&names, "raw/c/1"), ["raw/a", "raw/b"]);
        assert_eq!(instead(&names, "inline/a/3"), ["inline/a/1", "inline/a/2"]);
        assert_eq!(instead(&names, "inline/a/2/cores-2"), ["inline/a/2/batch-1"]);
        assert_eq!(instead(&names, "inline/"), ["inline/a"]);
        assert_eq!(instead(&names, ""), ["raw", "inline"]);
    }
}
