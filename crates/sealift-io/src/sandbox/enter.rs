//! The move itself: user and network namespaces, and who is root in them.
//!
//! Nobody can leave a user namespace again. A process therefore sends a copy of itself ahead, and
//! stays where it is if the copy could not make the whole move; a thread goes back.

use std::fs;
use std::os::fd::AsFd;

use rustix::process::{getegid, geteuid};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::device::Control;
use super::namespace::current_network;
use crate::error::{Errno, Error, Result};
use crate::sys::namespace::{in_a_copy, unshare_network, unshare_user_and_network};

/// A part of the move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Stage {
    Unshare,
    DenyGroups,
    MapUser,
    MapGroup,
    Configure,
}

/// The part of the move that the kernel refused.
#[derive(Clone, Copy, Debug)]
struct Refused {
    stage: Stage,
    errno: Errno,
}

/// Moves the process; without user namespaces, root can still do without one.
pub(super) fn process() -> Result<Control> {
    // The calls below refuse, or worse move only the calling thread, once there are more.
    if threads() != Some(1) {
        return Err(Error::Caller {
            what: "a process enters its sandbox before its second thread starts",
        });
    }
    let answer = in_a_copy(|| move_process().err().map_or([0; 2], Refused::to_bytes));
    let answer = answer.map_err(|errno| Error::System { call: "fork", errno })?;
    match Refused::from_bytes(answer) {
        Some(refused) => Err(refused.into()),
        None => move_process().map_err(Error::from),
    }
}

/// Moves the calling thread.
pub(super) fn thread() -> Result<Control> {
    let before = current_network()?;
    unshare_network().map_err(|errno| Error::System {
        call: "unshare(CLONE_NEWNET) for one thread: run as root or under `unshare -Urn`",
        errno,
    })?;
    configure().map_err(|refused| {
        // The right to leave was enough to get here, and is enough to go back.
        let back = move_into_link_name_space(before.as_fd(), Some(LinkNameSpaceType::Network));
        match back {
            Ok(()) => refused.into(),
            Err(errno) => {
                Error::System { call: "setns(CLONE_NEWNET) to go back", errno: errno.into() }
            }
        }
    })
}

fn move_process() -> std::result::Result<Control, Refused> {
    // Inside the new namespace both are 'nobody' until they are mapped.
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    match unshare_user_and_network() {
        Ok(()) => map_to_root(user, group)?,
        Err(errno) => {
            unshare_network().map_err(|_| Refused { stage: Stage::Unshare, errno })?;
        }
    }
    configure()
}

fn configure() -> std::result::Result<Control, Refused> {
    let control = Control::open().and_then(|control| {
        control.loopback_up()?;
        Ok(control)
    });
    control.map_err(|error| {
        let errno = error.errno().unwrap_or(Errno::from_raw(libc::EIO));
        Refused { stage: Stage::Configure, errno }
    })
}

/// See user_namespaces(7): one line each, and no `setgroups` without privileges.
fn map_to_root(user: u32, group: u32) -> std::result::Result<(), Refused> {
    let write = |path: &str, stage, text: String| {
        fs::write(path, text).map_err(|error| {
            let errno = Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
            Refused { stage, errno }
        })
    };
    write("/proc/self/setgroups", Stage::DenyGroups, "deny".into())?;
    write("/proc/self/uid_map", Stage::MapUser, format!("0 {user} 1"))?;
    write("/proc/self/gid_map", Stage::MapGroup, format!("0 {group} 1"))
}

impl Refused {
    const STAGES: [Stage; 5] =
        [Stage::Unshare, Stage::DenyGroups, Stage::MapUser, Stage::MapGroup, Stage::Configure];

    /// The error number, which is never 0, and the stage.
    fn to_bytes(self) -> [u8; 2] {
        [u8::try_from(self.errno.raw()).unwrap_or(libc::EIO as u8), self.stage as u8]
    }

    /// Nothing for two zeros: that is how a move that went well is told.
    fn from_bytes([errno, stage]: [u8; 2]) -> Option<Self> {
        let stage = Self::STAGES.get(usize::from(stage)).copied().unwrap_or(Stage::Unshare);
        (errno != 0).then(|| Self { stage, errno: Errno::from_raw(errno.into()) })
    }
}

impl From<Refused> for Error {
    fn from(Refused { stage, errno }: Refused) -> Self {
        let forbidden = errno.raw() == libc::EPERM;
        let call = match stage {
            Stage::Unshare => {
                "unshare(CLONE_NEWUSER): raise user.max_user_namespaces, set \
                 kernel.unprivileged_userns_clone=1, or run as root"
            }
            // Some distributions give an unprivileged user namespace, but no rights in it; and
            // root without this capability cannot be mapped at all.
            Stage::MapUser if forbidden => {
                "write /proc/self/uid_map: set kernel.apparmor_restrict_unprivileged_userns=0, or \
                 run as root with CAP_SETFCAP"
            }
            Stage::Configure if forbidden => {
                "configuring the sandbox: set kernel.apparmor_restrict_unprivileged_userns=0, or \
                 run as root"
            }
            Stage::DenyGroups => "write /proc/self/setgroups",
            Stage::MapUser => "write /proc/self/uid_map",
            Stage::MapGroup => "write /proc/self/gid_map",
            Stage::Configure => "configuring the sandbox",
        };
        Self::System { call, errno }
    }
}

fn threads() -> Option<usize> {
    fs::read_dir("/proc/self/task").ok().map(Iterator::count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_copy_met_with_is_told_in_two_bytes() {
        assert!(Refused::from_bytes([0; 2]).is_none());
        for stage in Refused::STAGES {
            let refused = Refused { stage, errno: Errno::from_raw(libc::EPERM) };
            let told = Refused::from_bytes(refused.to_bytes()).unwrap();
            assert_eq!((told.stage, told.errno), (refused.stage, refused.errno));
        }
    }

    #[test]
    fn missing_rights_are_explained() {
        for stage in [Stage::Unshare, Stage::MapUser, Stage::Configure] {
            let refused = Refused { stage, errno: Errno::from_raw(libc::EPERM) };
            assert!(Error::from(refused).to_string().contains("run as root"), "{stage:?}");
        }
    }
}
