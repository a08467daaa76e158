//! A secret that is typed on a terminal: nothing of it is shown.

use rustix::termios::{InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use std::io::{ErrorKind, Read, Write};

/// Longest line, in octets.
const OCTETS_MAX: usize = 64 * 1024;
const INTERRUPT: u8 = 0x03;
const END: u8 = 0x04;
const BACKSPACE: [u8; 2] = [0x08, 0x7f];
const KILL_LINE: u8 = 0x15;

/// Asks on standard error, and reads a line for each question from the terminal on standard input.
///
/// # Errors
/// `Interrupted` for Ctrl-C; what else the system says.
pub(super) fn ask<const N: usize>(questions: [&str; N]) -> std::io::Result<[String; N]> {
    let mut stdin = std::io::stdin().lock();
    // Before the first question, and until the last answer: what is typed ahead is not shown either.
    let _quiet = Quiet::begin()?;
    let mut lines = std::array::from_fn(|_| String::new());
    for (question, line) in questions.iter().zip(&mut lines) {
        eprint!("{question}");
        let _ = std::io::stderr().flush();
        let answer = read(&mut stdin);
        eprintln!();
        *line = answer?;
    }
    Ok(lines)
}

/// The terminal without echo, as long as this lives. It gives no signals meanwhile: Ctrl-C must not leave it without echo.
struct Quiet(Termios);

impl Quiet {
    fn begin() -> std::io::Result<Self> {
        let before = tcgetattr(std::io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes -= LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG | LocalModes::IEXTEN;
        quiet.input_modes |= InputModes::ICRNL;
        (quiet.special_codes[SpecialCodeIndex::VMIN], quiet.special_codes[SpecialCodeIndex::VTIME]) = (1, 0);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Quiet(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Drain, &self.0);
    }
}

/// A line as a terminal gives it that edits nothing itself.
fn read(from: &mut impl Read) -> std::io::Result<String> {
    let (mut line, mut octet) = (Vec::new(), [0]);
    loop {
        if from.read(&mut octet)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        match octet[0] {
            INTERRUPT => return Err(ErrorKind::Interrupted.into()),
            END if line.is_empty() => return Err(ErrorKind::UnexpectedEof.into()),
            b'\n' | b'\r' | END => break,
            KILL_LINE => line.clear(),
            octet if BACKSPACE.contains(&octet) => {
                // Behind the first octet of a character stand those that go on.
                while line.pop().is_some_and(|octet| octet & 0xc0 == 0x80) {}
            }
            octet if line.len() < OCTETS_MAX => line.push(octet),
            _ => return Err(std::io::Error::new(ErrorKind::InvalidData, "the line is too long")),
        }
    }
    String::from_utf8(line).map_err(|_| std::io::Error::new(ErrorKind::InvalidData, "the line is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_edited() {
        for (typed, wanted) in [
            (&b"hunter2\nmore"[..], Ok("hunter2")),
            (b"hunter\x7f\x082\r", Ok("hunt2")),
            ("пароль\x7f\n".as_bytes(), Ok("парол")),
            (b"wrong\x15right\n", Ok("right")),
            (b"\x7f\x7fa\n", Ok("a")),
            (b"a\x04", Ok("a")),
            (b"\n", Ok("")),
            (b"\x04", Err(ErrorKind::UnexpectedEof)),
            (b"abc", Err(ErrorKind::UnexpectedEof)),
            (b"abc\x03\n", Err(ErrorKind::Interrupted)),
            (b"\xff\n", Err(ErrorKind::InvalidData)),
        ] {
            assert_eq!(read(&mut &*typed).as_deref().map_err(std::io::Error::kind), wanted, "{typed:?}");
        }
    }
}
