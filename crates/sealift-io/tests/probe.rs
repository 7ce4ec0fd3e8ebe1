//! The probe says what can be seen directly, and notices what turns zero-copy into copying.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::HashSet;
use std::fs;
use std::net::IpAddr;

use sealift_io::probe::{Probe, Verdict, probe, probe_path};

fn verdict(probe: &Probe, name: &str) -> Verdict {
    probe.finding(name).unwrap_or_else(|| panic!("no finding {name}")).verdict
}

#[test]
fn it_agrees_with_what_is_seen_directly() {
    let probe = probe();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(probe.kernel, release.trim());
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let locked = limits.lines().find(|line| line.starts_with("Max locked memory")).unwrap();
    let soft = locked.split_whitespace().nth(3).unwrap();
    if verdict(&probe, "limits.locked_memory_bytes") == Verdict::No {
        let value = probe.finding("limits.locked_memory_bytes").unwrap().value.unwrap();
        assert_eq!(value.to_string(), soft);
    }
    let modules = fs::read_to_string("/proc/sys/net/ipv4/tcp_available_ulp").unwrap_or_default();
    if modules.split_whitespace().any(|module| module == "tls") {
        assert_eq!(verdict(&probe, "socket.ktls"), Verdict::Yes);
    }
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap();
    let has = |flag: &str| cpuinfo.split_whitespace().any(|word| word == flag);
    if cfg!(target_arch = "x86_64") {
        assert_eq!(verdict(&probe, "cpu.aes") == Verdict::Yes, has("aes"));
        assert_eq!(verdict(&probe, "cpu.vaes") == Verdict::Yes, has("vaes"));
    }
    assert_eq!(verdict(&probe, "socket.unix_zerocopy"), Verdict::No);
}

#[test]
fn every_no_has_a_reason_and_names_are_distinct() {
    let probe = probe();
    let names: HashSet<_> = probe.findings.iter().map(|finding| finding.name).collect();
    assert_eq!(names.len(), probe.findings.len());
    for finding in &probe.findings {
        assert_eq!(finding.is_yes(), finding.reason.is_none(), "{finding:?}");
    }
}

#[test]
fn scripts_find_names_verdicts_and_reasons() {
    let json = serde_json::to_value(probe()).unwrap();
    let findings = json["findings"].as_array().unwrap();
    let find = |name: &str| findings.iter().find(|finding| finding["name"] == name).unwrap();
    for name in ["io_uring.available", "io_uring.send_zc", "socket.tcp_zerocopy", "socket.ktls"] {
        assert!(["yes", "no", "unknown"].contains(&find(name)["verdict"].as_str().unwrap()));
    }
    assert_eq!(find("socket.unix_zerocopy")["verdict"], "no");
    assert!(find("socket.unix_zerocopy")["reason"].is_string());
    assert!(find("socket.unix_zerocopy").get("remedy").is_none());

    let path = serde_json::to_value(probe_path(IpAddr::from([127, 0, 0, 1]))).unwrap();
    assert_eq!(path["destination"], "127.0.0.1");
    assert_eq!(path["zero_copy"]["name"], "path.zero_copy");
    assert_eq!(path["zero_copy"]["verdict"], "no");
}

#[cfg(feature = "sandbox")]
mod paths {
    use super::support::{if_kernel_has, in_sandbox};
    use super::*;
    use sealift_io::probe::{Offloads, PathProbe};
    use sealift_io::sandbox::FarEnd;

    fn no_of<'a>(path: &'a PathProbe, name: &str) -> &'a str {
        assert_eq!(path.zero_copy.verdict, Verdict::No, "{path}");
        let finding = path.finding(name).unwrap();
        assert_eq!(finding.verdict, Verdict::No, "{path}");
        finding.remedy.as_deref().unwrap()
    }

    #[test]
    fn a_sink_keeps_until_something_copies() {
        let name = "a_sink_keeps_until_something_copies";
        in_sandbox(name, |sandbox| {
            let sink = if_kernel_has(name, sandbox.add_sink(65535));
            let Some(sink) = sink else { return };
            for peer in [IpAddr::from(sink.peer_v4), IpAddr::from(sink.peer_v6)] {
                let path = probe_path(peer);
                assert!(path.zero_copy.is_yes(), "{path}");
                let route = path.route.as_ref().unwrap();
                assert_eq!((&route.device, route.mtu), (&sink.name, 65535));
                assert_eq!(route.kind, sink.kind.as_str());

                let listener = sandbox.packet_listener().unwrap();
                assert!(no_of(&probe_path(peer), "path.packet_listeners").contains("ss "));
                drop(listener);
                assert!(probe_path(peer).zero_copy.is_yes());

                sink.set_offloads(Offloads {
                    scatter_gather: false,
                    tx_checksum: false,
                    tcp_segmentation: false,
                    udp_segmentation: false,
                })
                .unwrap();
                let path = probe_path(peer);
                assert!(no_of(&path, "path.scatter_gather").contains("sg on"));
                assert!(no_of(&path, "path.tx_checksum").contains("tx on"));
                sink.set_offloads(Offloads { udp_segmentation: false, ..Offloads::ALL }).unwrap();
                let path = probe_path(peer);
                assert!(path.zero_copy.is_yes(), "{path}");
                assert_eq!(path.finding("path.udp_segmentation").unwrap().verdict, Verdict::No);
                sink.set_offloads(Offloads::ALL).unwrap();
            }
            let own = probe_path(sink.local_v4.into());
            no_of(&own, "path.route");
        });
    }

    #[test]
    fn a_veth_depends_and_a_tun_copies() {
        let name = "a_veth_depends_and_a_tun_copies";
        in_sandbox(name, |sandbox| {
            let veth = sandbox.add_veth(1500, FarEnd::Host);
            if let Some(veth) = if_kernel_has(&format!("{name}: veth"), veth) {
                let path = probe_path(veth.near.peer_v4.into());
                assert_eq!(path.zero_copy.verdict, Verdict::Unknown, "{path}");
                assert!(path.zero_copy.reason.as_ref().unwrap().contains("veth"));
            }
            if let Some(tun) = if_kernel_has(&format!("{name}: tun"), sandbox.add_tun(1500)) {
                no_of(&probe_path(tun.peer_v4.into()), "path.device");
            }
        });
    }

    #[test]
    fn nowhere_is_unknown_with_a_reason() {
        in_sandbox("nowhere_is_unknown_with_a_reason", |_| {
            let path = probe_path(IpAddr::from([192, 0, 2, 1]));
            assert_eq!(path.zero_copy.verdict, Verdict::Unknown, "{path}");
            assert!(path.route.is_none());
            assert!(path.zero_copy.reason.as_ref().unwrap().contains("unreachable"), "{path}");
        });
    }
}
