//! One answer of the probe: yes, no or unknown, and for a 'no' why and what to do about it.

use serde::Serialize;

/// The answer to a finding's question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is there, or enough, or stays so.
    Yes,
    /// It is not; [`Finding::reason`] says why.
    No,
    /// It could not be asked, or it depends; [`Finding::reason`] says on what.
    Unknown,
}

impl Verdict {
    /// The word that people and scripts read: `yes`, `no` or `unknown`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "unknown",
        }
    }
}

/// One thing that the machine or a path can do, or cannot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The stable name for scripts, `group.item`.
    pub name: &'static str,
    /// What was asked, in a few words for people.
    pub title: &'static str,
    /// The answer.
    pub verdict: Verdict,
    /// What was seen, such as a size or a version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The number behind the answer, where there is one; its unit ends the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<u64>,
    /// Why the answer is not 'yes'. Every 'no' and every 'unknown' has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What to do about it, where something can be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    /// Whether the answer is a plain yes.
    pub fn is_yes(&self) -> bool {
        self.verdict == Verdict::Yes
    }

    /// The part of the name before the dot.
    pub fn group(&self) -> &'static str {
        self.name.split('.').next().unwrap_or(self.name)
    }

    pub(crate) fn yes(name: &'static str, title: &'static str) -> Self {
        Self {
            name,
            title,
            verdict: Verdict::Yes,
            detail: None,
            value: None,
            reason: None,
            remedy: None,
        }
    }

    pub(crate) fn no(name: &'static str, title: &'static str, reason: impl Into<String>) -> Self {
        let reason = Some(reason.into());
        Self { verdict: Verdict::No, reason, ..Self::yes(name, title) }
    }

    pub(crate) fn unknown(
        name: &'static str,
        title: &'static str,
        reason: impl Into<String>,
    ) -> Self {
        let reason = Some(reason.into());
        Self { verdict: Verdict::Unknown, reason, ..Self::yes(name, title) }
    }

    pub(crate) fn detail(self, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }

    pub(crate) fn value(self, value: u64) -> Self {
        Self { value: Some(value), ..self }
    }

    pub(crate) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_the_name_up_to_the_dot() {
        let finding = Finding::no("io_uring.send_zc", "SEND_ZC", "too old").remedy("upgrade");
        assert_eq!(finding.group(), "io_uring");
        assert!(!finding.is_yes());
        assert_eq!(finding.reason.as_deref(), Some("too old"));
    }
}
