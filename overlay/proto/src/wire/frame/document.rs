//! A relay's own descriptor on a link: the one document that is asked for before there is a circuit.

use super::{DOC_REST, FrameError};
use crate::wire::descriptor::DESCRIPTOR_MAX;

/// Bytes of a descriptor in one frame.
pub const PART_LEN: usize = 1_024;
/// Parts of the longest descriptor.
pub const PARTS_MAX: u8 = 6;

const _: () = assert!(PARTS_MAX as usize * PART_LEN == DESCRIPTOR_MAX, "the parts hold the longest descriptor");

/// One part of a descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DocPart<'a> {
    part: u8,
    len: u16,
    tag: u32,
    bytes: &'a [u8; PART_LEN],
}

impl<'a> DocPart<'a> {
    /// Which part, from 0.
    #[must_use]
    pub fn part(&self) -> u8 {
        self.part
    }

    /// Length of the whole descriptor in bytes; 0 when there is none to give.
    #[must_use]
    pub fn whole_len(&self) -> usize {
        usize::from(self.len)
    }

    /// The same for all parts of one descriptor, and another for another one.
    #[must_use]
    pub fn tag(&self) -> u32 {
        self.tag
    }

    /// The part's bytes.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        &self.bytes[..part_len(self.part, self.len).unwrap_or(0)]
    }

    pub(super) fn read(rest: &'a [u8; DOC_REST]) -> Result<Self, FrameError> {
        let [part, len @ .., _, _, _, _] = rest.first_chunk::<7>().ok_or(FrameError::Truncated)?;
        let tag = [rest[3], rest[4], rest[5], rest[6]];
        let bytes = rest.last_chunk::<PART_LEN>().ok_or(FrameError::Truncated)?;
        let read = Self { part: *part, len: u16::from_be_bytes(*len), tag: u32::from_be_bytes(tag), bytes };
        let filled = part_len(read.part, read.len).ok_or(FrameError::Document)?;
        if bytes[filled..].iter().any(|byte| *byte != 0) {
            return Err(FrameError::Document);
        }
        Ok(read)
    }

    pub(super) fn write(&self, out: &mut [u8; DOC_REST]) {
        out[0] = self.part;
        out[1..3].copy_from_slice(&self.len.to_be_bytes());
        out[3..7].copy_from_slice(&self.tag.to_be_bytes());
        out[7..].copy_from_slice(self.bytes);
    }
}

/// A descriptor cut into parts, ready to be given.
#[derive(Clone, Debug)]
pub(crate) struct DocParts {
    len: u16,
    tag: u32,
    parts: Vec<[u8; PART_LEN]>,
}

impl DocParts {
    /// Cuts a descriptor; longer ones than there can be give nothing.
    pub(crate) fn cut(descriptor: &[u8], tag: u32) -> Self {
        let descriptor = if descriptor.len() <= DESCRIPTOR_MAX { descriptor } else { &[] };
        let parts = descriptor.chunks(PART_LEN).map(|piece| {
            let mut part = [0; PART_LEN];
            part[..piece.len()].copy_from_slice(piece);
            part
        });
        let len = u16::try_from(descriptor.len()).unwrap_or(0);
        Self { len, tag, parts: parts.collect() }
    }

    /// One part, if there is such a one.
    pub(crate) fn part(&self, part: u8) -> Option<DocPart<'_>> {
        if self.parts.is_empty() && part == 0 {
            return Some(DocPart { part, len: 0, tag: 0, bytes: &[0; PART_LEN] });
        }
        Some(DocPart { part, len: self.len, tag: self.tag, bytes: self.parts.get(usize::from(part))? })
    }
}

/// How many bytes a part has; `None` where no part has this number.
fn part_len(part: u8, whole: u16) -> Option<usize> {
    let (whole, start) = (usize::from(whole), usize::from(part) * PART_LEN);
    if whole > DESCRIPTOR_MAX || (start >= whole && part != 0) {
        return None;
    }
    Some((whole - start).min(PART_LEN))
}

/// Reads what is behind the type of a DOC_GET.
pub(super) fn read_get(rest: &[u8; DOC_REST]) -> Result<u8, FrameError> {
    let [part, zeros @ ..] = rest;
    if *part >= PARTS_MAX || zeros.iter().any(|byte| *byte != 0) {
        return Err(FrameError::Document);
    }
    Ok(*part)
}
