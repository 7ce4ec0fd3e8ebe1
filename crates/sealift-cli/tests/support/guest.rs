//! A guest for QEMU that lives visibly: its firmware counts on the serial port, and looks at all of
//! its memory in between.
//!
//! It is a ROM of 64 KiB and nothing else: no kernel, no disk. At reset the processor is at its
//! last 16 bytes, which jump to its beginning.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Running, Scratch, quiet, start, wait_until};

const ROM_BYTES: usize = 64 * 1024;
const RESET_VECTOR: usize = 0xfff0;

/// jmp 0xf000:0
const JUMP: &[u8] = &[0xea, 0x00, 0x00, 0x00, 0xf0];

/// What the guest does, in 16 bits.
const PROGRAM: &[&[u8]] = &[
    &[0x31, 0xc0],                                           // xor ax, ax
    &[0x8e, 0xd8],                                           // mov ds, ax
    &[0x8e, 0xd0],                                           // mov ss, ax
    &[0xbc, 0x00, 0x7c],                                     // mov sp, 0x7c00
    &[0x66, 0xc7, 0x06, 0x00, 0x05, 0x00, 0x00, 0x00, 0x00], // mov dword [0x500], 0: the count
    // Half a megabyte of memory gets words of which no two neighbours, and no two segments, agree.
    &[0xbb, 0x00, 0x20],             // mov bx, 0x2000
    &[0x8e, 0xc3],                   // fill: mov es, bx
    &[0x31, 0xff],                   // xor di, di
    &[0x89, 0xf8],                   // word: mov ax, di
    &[0x31, 0xd8],                   // xor ax, bx
    &[0xab],                         // stosw
    &[0x85, 0xff],                   // test di, di
    &[0x75, 0xf7],                   // jnz word
    &[0x80, 0xc7, 0x10],             // add bh, 0x10
    &[0x80, 0xff, 0xa0],             // cmp bh, 0xa0
    &[0x72, 0xeb],                   // jb fill
    &[0x66, 0xff, 0x06, 0x00, 0x05], // count: inc dword [0x500]
    // Is it all still there?
    &[0xbb, 0x00, 0x20], // mov bx, 0x2000
    &[0x8e, 0xc3],       // look: mov es, bx
    &[0x31, 0xff],       // xor di, di
    &[0x89, 0xf8],       // word: mov ax, di
    &[0x31, 0xd8],       // xor ax, bx
    &[0xaf],             // scasw
    &[0x75, 0x30],       // jne wrong
    &[0x85, 0xff],       // test di, di
    &[0x75, 0xf5],       // jnz word
    &[0x80, 0xc7, 0x10], // add bh, 0x10
    &[0x80, 0xff, 0xa0], // cmp bh, 0xa0
    &[0x72, 0xe9],       // jb look
    // The count in eight hexadecimal digits, and the end of a line.
    &[0x66, 0x8b, 0x16, 0x00, 0x05], // mov edx, [0x500]
    &[0xb9, 0x08, 0x00],             // mov cx, 8
    &[0x66, 0xc1, 0xc2, 0x04],       // digit: rol edx, 4
    &[0x88, 0xd0],                   // mov al, dl
    &[0x24, 0x0f],                   // and al, 15
    &[0x04, 0x30],                   // add al, '0'
    &[0x3c, 0x3a],                   // cmp al, '9' + 1
    &[0x72, 0x02],                   // jb is_digit
    &[0x04, 0x27],                   // add al, 'a' - '9' - 1
    &[0xe8, 0x10, 0x00],             // is_digit: call put
    &[0xe2, 0xeb],                   // loop digit
    &[0xb0, 0x0a],                   // mov al, '\n'
    &[0xe8, 0x09, 0x00],             // call put
    &[0xeb, 0xbd],                   // jmp count
    &[0xb0, 0x21],                   // wrong: mov al, '!'
    &[0xe8, 0x02, 0x00],             // call put
    &[0xeb, 0xf9],                   // jmp wrong
    &[0x52],                         // put: push dx
    &[0x50],                         // push ax
    &[0xba, 0xfd, 0x03],             // mov dx, 0x3fd
    &[0xec],                         // busy: in al, dx
    &[0xa8, 0x20],                   // test al, 0x20
    &[0x74, 0xfb],                   // jz busy
    &[0x58],                         // pop ax
    &[0xba, 0xf8, 0x03],             // mov dx, 0x3f8
    &[0xee],                         // out dx, al
    &[0x5a],                         // pop dx
    &[0xc3],                         // ret
];

/// A virtual machine with the guest, and what the guest said.
pub struct Machine {
    pub running: Running,
    said: PathBuf,
    monitor: BufReader<UnixStream>,
}

impl Machine {
    /// Starts QEMU with `arguments` more; `name` is for its files in `scratch`.
    pub fn new(scratch: &Scratch, name: &str, arguments: &[&str]) -> Self {
        let rom = scratch.join(&format!("{name}.rom"));
        let mut bytes = PROGRAM.concat();
        bytes.resize(ROM_BYTES, 0);
        bytes[RESET_VECTOR..RESET_VECTOR + JUMP.len()].copy_from_slice(JUMP);
        fs::write(&rom, bytes).unwrap();
        let said = scratch.join(&format!("{name}.said"));
        let socket = scratch.join(&format!("{name}.qmp"));
        let mut command = quiet("qemu-system-x86_64");
        command.args(["-machine", "pc,accel=tcg", "-m", "4", "-nodefaults", "-no-user-config"]);
        command.args(["-display", "none", "-bios"]).arg(&rom);
        command.arg("-serial").arg(format!("file:{}", said.display()));
        command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", socket.display()));
        let running = start(command.args(arguments));
        let mut stream = None;
        wait_until("QEMU's monitor", || {
            stream = UnixStream::connect(&socket).ok();
            stream.is_some()
        });
        let mut machine = Self { running, said, monitor: BufReader::new(stream.unwrap()) };
        let greeting = machine.line();
        assert!(greeting.get("QMP").is_some(), "{greeting}");
        machine.order("qmp_capabilities", json!({}));
        machine
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        assert!(self.monitor.read_line(&mut line).unwrap() > 0, "QEMU has gone");
        serde_json::from_str(&line).unwrap()
    }

    /// Has QEMU do something (QMP), and returns its answer.
    pub fn order(&mut self, execute: &str, arguments: Value) -> Value {
        let order = json!({ "execute": execute, "arguments": arguments });
        writeln!(self.monitor.get_mut(), "{order}").unwrap();
        loop {
            let mut line = self.line();
            assert!(line.get("error").is_none(), "{execute}: {line}");
            if line.get("return").is_some() {
                return line["return"].take();
            }
        }
    }

    /// Whether the guest runs, in QEMU's word.
    pub fn status(&mut self) -> String {
        self.order("query-status", json!({}))["status"].as_str().unwrap().to_owned()
    }

    /// How far a migration is.
    pub fn migration(&mut self) -> Value {
        self.order("query-migrate", json!({}))
    }

    /// All that the guest said here.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap_or_default()
    }

    /// Waits until the guest said more than it has.
    pub fn wait_for_life(&self) {
        let before = self.said().len();
        wait_until("the guest's life", || self.said().len() > before + 50);
    }
}

/// Asserts that a guest counted on without a gap, and found its memory as it was; the last line may
/// not be whole.
#[track_caller]
pub fn assert_counts(said: &str) {
    let (whole, _) = said.rsplit_once('\n').unwrap_or_default();
    for (line, expected) in whole.lines().zip(1u32..) {
        assert_eq!(u32::from_str_radix(line, 16), Ok(expected), "{line:?}");
    }
}
