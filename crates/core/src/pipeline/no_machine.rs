//! In the place of `machine.rs` where the library is to be small: options refuse what would
//! need it.

use super::write::{Place, Writer};
use crate::chunk::Sink;

#[derive(Default)]
pub(super) struct Machine {}

impl Machine {
    pub(super) fn record(
        &mut self,
        _: &Place<'_>,
        _: Option<&[u8]>,
        _: &mut Writer,
        _: &mut dyn Sink,
    ) -> bool {
        false
    }

    pub(super) fn end_of_chunk(&mut self, _: &[u8], _: &mut Writer, _: &mut dyn Sink) {}

    pub(super) fn release(&mut self, _: &[u8], _: &mut Writer, _: &mut dyn Sink) {}

    pub(super) fn held(&self) -> usize {
        0
    }
}
