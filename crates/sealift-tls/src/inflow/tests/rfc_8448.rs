//! What the traces of RFC 8448 seal with application keys: sealed to the byte, and opened.
//!
//! The handshakes themselves are rustls's. Sections 3 and 4 print the keys; those of sections 5 to
//! 7 follow from the messages that are printed, by the key schedule (RFC 8446 section 7.1).

use super::*;

/// What both ends of sections 3 and 4 send.
const FIFTY: &[u8] = b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\
    \x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\
    \x20\x21\x22\x23\x24\x25\x26\x27\x28\x29\x2a\x2b\x2c\x2d\x2e\x2f\x30\x31";

/// The keys of one direction: the key and the IV, and how many of their records, which are
/// tickets, come before what is traced.
struct Keys(&'static str, &'static str, u64);

impl Keys {
    fn epoch(&self) -> Epoch {
        let Self(key, iv, before) = self;
        let iv = hex(iv).try_into().unwrap();
        let mut epoch = Epoch::of(Suite::Aes128Gcm, &hex(key), iv, true, None).unwrap();
        (0..*before).for_each(|_| _ = epoch.take_number().unwrap());
        epoch
    }

    /// Data, each text in the record that it makes, and then close_notify, if it comes.
    fn carry(&self, data: &[(&[u8], &str)], close_notify: Option<&str>) {
        let mut sealing = Sealing::new(self.epoch());
        let mut inflow = Inflow::new(Side::Server, Opening::new(self.epoch()), &[]);
        for (text, record) in data {
            assert_eq!(seal(&mut sealing, ContentType::ApplicationData, text), hex(record));
            inflow.feed(&hex(record));
        }
        if let Some(record) = close_notify {
            assert_eq!(seal(&mut sealing, ContentType::Alert, &[1, 0]), hex(record));
            inflow.feed(&hex(record));
        }
        let (read, ended) = inflow.read_all(100);
        let sent: Vec<u8> = data.iter().flat_map(|(text, _)| *text).copied().collect();
        let end = close_notify.map_or(Step::Starved, |_| Step::Ended);
        assert_eq!((read, ended.unwrap()), (sent, end));
    }

    fn close(&self, close_notify: &str) {
        self.carry(&[], Some(close_notify));
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// Section 3.
#[test]
fn the_simple_handshake() {
    Keys("17422dda596ed5d9acd890e3c63f5051", "5b78923dee08579033e523d9", 0).carry(
        &[(
            FIFTY,
            "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5
             b46b395bd54a9a20441e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4",
        )],
        Some("1703030013c9872760655666b74d7ff1153efd6db6d0b0e3"),
    );
    Keys("9f02283b6c9c07efc26bb9f2ac92e356", "cf782b88dd83549aadf1e984", 1).carry(
        &[(
            FIFTY,
            "17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d
             90e6dffc602dcb501a59a8fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d",
        )],
        Some("1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9"),
    );
}

/// Section 4, with early data, which has a key of its own.
#[test]
fn the_resumed_handshake() {
    Keys("920205a5b7bf2115e6fc5c2942834f54", "6d475f0993c8e564610db2b9", 0)
        .carry(&[(b"ABCDEF", "1703030017ab1df420e75c457a7cc5d2844f76d5aee4b4edbf049be0")], None);
    Keys("3cf122f301c6358ca7989553250efd72", "ab1aec26aa78b8fc1176b9ac", 0).carry(
        &[(
            FIFTY,
            "1703030043b1cebce242aa201be9ae5e1cb2a9aa4b33d4e866af1edb068919237741aa031d
             7a74d491c99b9d4e232b74206bc6fbaa04fe78be44a9b4f54320a17eb76992afac3103",
        )],
        Some("17030300130facce3246bdfc6369838d6a82ae6de5d422dc"),
    );
    Keys("e857c690a34c5a9129d833619684f95e", "0685d6b561aab9ef1013faf9", 0).carry(
        &[(
            FIFTY,
            "1703030043275e9f20acff57bc000657d3867df039cccf79047884cf75771746f740b5a83f
             462a0954c3581393a203a25a7dd14141ef1a37900cdb62ff62dee1ba39ab2590cbf194",
        )],
        Some("17030300135b18af444e8e1eec7158fb62d8f2577d37ba5d"),
    );
}

/// Section 5.
#[test]
fn the_handshake_after_a_hello_retry_request() {
    Keys("a7eb2a0525eb4331d58fcbf9f7ca2e9c", "86e8be227c1bd2b3e39cb444", 0)
        .close("17030300132ea6cdf749196023e2b3a49491695536426047");
    Keys("f27a5d97bd25550c4823b0f3e5d29388", "0dd631f7b71cbbc797c35fe7", 0)
        .close("1703030013519fc5075cb0884349759ff9ef6f011bb4c6f2");
}

/// Section 6.
#[test]
fn the_handshake_with_client_authentication() {
    Keys("cdc09c806aa8f86dfcd51efc44a0c039", "6ef852e78b46d913668e53e7", 0)
        .close("1703030013e4ad7d44c29245339d355962c779b89ef44c58");
    Keys("88b3123ddecadf8c1ba298e2c18176b0", "4e0978513f9de8327c08e4f3", 0)
        .close("17030300131decc5d6e64bba8a6f21b4fd077497da2a90cb");
}

/// Section 7.
#[test]
fn the_handshake_in_compatibility_mode() {
    Keys("33d7f9709756c966488ad4438437e673", "c5f30d34b0e91b7d6c8eea65", 0)
        .close("17030300130f629155382dba23c4e2c5f7f84e6f2ed3083d");
    Keys("edc4cbd0041c28cc7167441d7ca53e6a", "bf6c7d8e0a9545b427dcf139", 0)
        .close("1703030013b7257b0fecaf69d4f09e3f891e2a25d1e28845");
}
