//! One socket under the rules of one backend.

use super::calls::CallRules;
use super::ring::RingRules;
use super::socket::Socket;
use super::stage::Stage;
use super::weather::Weather;

pub(super) enum Rules {
    Ring(RingRules),
    Calls(Box<CallRules>),
}

pub(super) struct Kernel {
    pub(super) rules: Rules,
    pub(super) socket: Socket,
    pub(super) weather: Weather,
}

impl Kernel {
    /// What the backend does when the sender is called.
    pub(super) fn pump(&mut self, stage: &mut Stage) {
        stage.machine.tick(stage.now_us);
        if self.socket.room() > 0 || stage.random.once_in(40) {
            stage.machine.writable();
        }
        let Self { rules, socket, weather } = self;
        match rules {
            Rules::Ring(ring) => ring.pump(stage, socket),
            Rules::Calls(calls) => calls.pump(stage, socket, weather),
        }
    }

    /// What the kernel does by itself.
    pub(super) fn work(&mut self, stage: &mut Stage) {
        let Self { rules, socket, weather } = self;
        if stage.random.once_in(2) {
            return socket.progress(stage);
        }
        match rules {
            Rules::Ring(ring) => ring.work(stage, socket, weather),
            Rules::Calls(calls) => calls.work(stage, socket),
        }
    }

    /// Whether nothing will happen unless the sender does something.
    pub(super) fn is_idle(&self) -> bool {
        self.socket.is_idle()
            && match &self.rules {
                Rules::Ring(ring) => ring.is_idle(),
                Rules::Calls(calls) => calls.is_idle(),
            }
    }
}
