//! Finds the ends of lines as octets come, and checks every limit of the head before more is kept.

use memchr::{memchr, memchr2};

use super::error::printable;
use super::{DecodeErrorKind, Limits};

/// Octets a command line may have. The longest command has 11.
pub(super) const COMMAND_LIMIT: usize = 32;

/// How far the head of one frame has been searched. No octet is looked at twice, however the head is cut.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scan {
    /// Octets searched.
    at: usize,
    /// Where the line at hand begins; all before it is whole lines.
    line_start: usize,
    /// Whole lines so far: the command's and the headers'.
    lines: usize,
}

impl Scan {
    /// Searches what is new in `frame`, which begins with the frame's first octet.
    ///
    /// Returns the length of the head, blank line included, once that is there.
    /// `bare_lf` says that a carriage return belongs to the line it ends.
    pub(super) fn search(
        &mut self,
        frame: &[u8],
        limits: &Limits,
        bare_lf: bool,
    ) -> Result<Option<usize>, DecodeErrorKind> {
        while let Some(distance) = memchr2(b'\n', 0, frame.get(self.at..).unwrap_or_default()) {
            let end = self.at + distance;
            let line = frame.get(self.line_start..end).unwrap_or_default();
            if frame.get(end) == Some(&0) {
                self.check(line, limits)?;
                return Err(DecodeErrorKind::NulInHead { line: self.lines + 1 });
            }
            let line = match line.split_last() {
                Some((b'\r', without)) if !bare_lf => without,
                _ => line,
            };
            self.check(line, limits)?;
            if end >= limits.head.min(limits.frame) {
                return Err(head_breach(limits));
            }
            self.lines += 1;
            (self.at, self.line_start) = (end + 1, end + 1);
            if line.is_empty() && self.lines > 1 {
                return Ok(Some(self.at));
            }
            if self.lines > limits.header_lines.saturating_add(1) {
                return Err(DecodeErrorKind::TooManyHeaders {
                    limit: limits.header_lines,
                });
            }
        }
        self.at = frame.len();
        self.check_unfinished(frame.get(self.line_start..).unwrap_or_default(), limits, bare_lf)?;
        Ok(None)
    }

    /// Octets of whole lines at the frame's start.
    pub(super) fn whole_lines(&self) -> usize {
        self.line_start
    }

    /// Octets searched so far.
    pub(super) fn searched(&self) -> usize {
        self.at
    }

    /// A line whose end has not come: a carriage return at its end may yet belong to that end.
    fn check_unfinished(&self, line: &[u8], limits: &Limits, bare_lf: bool) -> Result<(), DecodeErrorKind> {
        match line.split_last() {
            Some((b'\r', without)) if !bare_lf => {
                self.check(without, limits)?;
                if self.at > limits.head.min(limits.frame) {
                    return Err(head_breach(limits));
                }
                Ok(())
            }
            _ => self.check(line, limits),
        }
    }

    /// `line` begins at `line_start` and may lack its end. Of two breaches the one that comes first in the stream is told,
    /// so that the verdict does not depend on how the bytes were cut.
    fn check(&self, line: &[u8], limits: &Limits) -> Result<(), DecodeErrorKind> {
        let head_left = limits.head.min(limits.frame).saturating_sub(self.line_start);
        if self.lines == 0 {
            check_command(line.get(..head_left).unwrap_or(line))?;
            return if line.len() > head_left {
                Err(head_breach(limits))
            } else {
                Ok(())
            };
        }
        if line.len() <= head_left.min(limits.header_line) {
            return Ok(());
        }
        if head_left <= limits.header_line {
            return Err(head_breach(limits));
        }
        let within = line.get(..limits.header_line).unwrap_or(line);
        Err(DecodeErrorKind::HeaderLineTooLong {
            line: self.lines + 1,
            header: printable(within.split(|&octet| octet == b':').next().unwrap_or_default()),
            limit: limits.header_line,
        })
    }
}

/// The head has more octets than a head, or than a whole frame, may have.
fn head_breach(limits: &Limits) -> DecodeErrorKind {
    if limits.frame < limits.head {
        DecodeErrorKind::FrameTooLarge {
            limit: limits.frame,
            announced: None,
        }
    } else {
        DecodeErrorKind::HeadTooLong { limit: limits.head }
    }
}

/// Whether `line` can still become a command, so that another protocol is told apart at its first octets.
fn check_command(line: &[u8]) -> Result<(), DecodeErrorKind> {
    let good = line
        .iter()
        .position(|octet| !octet.is_ascii_alphanumeric() && !b"_-".contains(octet))
        .unwrap_or(line.len());
    if good > COMMAND_LIMIT {
        return Err(DecodeErrorKind::CommandTooLong {
            seen: printable(line),
            limit: COMMAND_LIMIT,
        });
    }
    if good < line.len() {
        return Err(DecodeErrorKind::NotACommand {
            seen: printable(line.get(..=good).unwrap_or(line)),
        });
    }
    Ok(())
}

/// Octets of `input` up to and with its first end of line or NUL, or all of it: as much as may be kept before searching it.
pub(super) fn one_line(input: &[u8]) -> usize {
    memchr2(b'\n', 0, input).map_or(input.len(), |at| at + 1)
}

/// Octets of `input` up to and with its first NUL, or all of it.
pub(super) fn to_nul(input: &[u8]) -> usize {
    memchr(0, input).map_or(input.len(), |at| at + 1)
}
