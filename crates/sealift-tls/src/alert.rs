//! Alerts: how an end of the connection says that it ends, and why (RFC 8446 section 6).

use rustls::AlertDescription;

use crate::error::{Error, Result, Violation};

/// What an alert of the peer means for the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alert {
    /// The peer sends nothing more. All that it sent has arrived.
    CloseNotify,
    /// It changes nothing: `user_canceled`, which close_notify follows, and warnings of TLS 1.2.
    Warning,
    /// The connection failed.
    Fatal(AlertDescription),
}

const WARNING: u8 = 1;
const FATAL: u8 = 2;

impl Alert {
    /// The length of any alert.
    pub(crate) const BYTES: usize = 2;

    /// Reads an alert, the whole content of its record. In TLS 1.3 its level says nothing, and all
    /// but two kinds are fatal.
    pub(crate) fn parse(content: &[u8], tls13: bool) -> Result<Self> {
        let &[level, description] = content else {
            return Err(Error::Peer(Violation::MalformedAlert));
        };
        let description = AlertDescription::from(description);
        match (level, description) {
            (_, AlertDescription::CloseNotify) => Ok(Self::CloseNotify),
            (WARNING | FATAL, AlertDescription::UserCanceled) if tls13 => Ok(Self::Warning),
            (WARNING, _) if !tls13 => Ok(Self::Warning),
            (WARNING | FATAL, description) => Ok(Self::Fatal(description)),
            _ => Err(Error::Peer(Violation::MalformedAlert)),
        }
    }

    /// The content of the record that tells the peer.
    pub(crate) fn encode(description: AlertDescription) -> [u8; Self::BYTES] {
        let is_warning = matches!(
            description,
            AlertDescription::CloseNotify | AlertDescription::NoRenegotiation
        );
        [if is_warning { WARNING } else { FATAL }, description.into()]
    }
}

/// An alert's name as the specifications write it: `bad_record_mac`.
pub(crate) fn name(description: AlertDescription) -> String {
    let Some(name) = description.as_str() else {
        return format!("number {}", u8::from(description));
    };
    let mut words = String::with_capacity(name.len() + 4);
    let mut after_capital = true;
    for letter in name.chars() {
        if letter.is_uppercase() && !after_capital {
            words.push('_');
        }
        after_capital = letter.is_uppercase();
        words.push(letter.to_ascii_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_a_connection_depends_on_the_version() {
        let no_renegotiation = Alert::encode(AlertDescription::NoRenegotiation);
        assert_eq!(Alert::parse(&no_renegotiation, false).unwrap(), Alert::Warning);
        let fatal = Alert::Fatal(AlertDescription::NoRenegotiation);
        assert_eq!(Alert::parse(&no_renegotiation, true).unwrap(), fatal);
        for tls13 in [false, true] {
            let end = Alert::encode(AlertDescription::CloseNotify);
            assert_eq!(Alert::parse(&end, tls13).unwrap(), Alert::CloseNotify);
            for wrong in [&[][..], &[2], &[2, 0, 0], &[3, 10]] {
                let refused = Alert::parse(wrong, tls13).unwrap_err();
                assert!(matches!(refused, Error::Peer(Violation::MalformedAlert)), "{wrong:?}");
            }
        }
    }

    #[test]
    fn names_are_those_of_the_specifications() {
        assert_eq!(name(AlertDescription::BadRecordMac), "bad_record_mac");
        assert_eq!(name(AlertDescription::UnknownCA), "unknown_ca");
        assert_eq!(name(AlertDescription::from(200)), "number 200");
    }
}
