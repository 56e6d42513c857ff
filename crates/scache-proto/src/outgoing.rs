//! What is still to be written, and the byte of it that a descriptor rides on.

/// What an idle session may keep allocated for it.
const KEPT_BYTES: usize = 1024;

/// A buffer of bytes to write, front to back.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    bytes: Vec<u8>,
    written: usize,
    /// Where in `bytes` the descriptor rides.
    descriptor_at: Option<usize>,
}

impl Outgoing {
    /// Where to add what is to be written.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Adds the NUL byte that a descriptor rides on.
    pub(crate) fn push_descriptor(&mut self) {
        self.descriptor_at = Some(self.bytes.len());
        self.bytes.push(0);
    }

    /// How many bytes wait.
    pub(crate) fn waiting(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Whether the descriptor waits as well.
    pub(crate) fn descriptor_waits(&self) -> bool {
        self.descriptor_at.is_some()
    }

    /// What can be written at once, and whether the descriptor rides on the first byte of it.
    pub(crate) fn next(&self) -> Option<(&[u8], bool)> {
        let end = match self.descriptor_at {
            Some(at) if at > self.written => at,
            _ => self.bytes.len(),
        };
        let with_descriptor = self.descriptor_at == Some(self.written);
        (end > self.written).then(|| (&self.bytes[self.written..end], with_descriptor))
    }

    /// Takes note that `bytes` bytes of [`Outgoing::next`] are written, and its descriptor with the first.
    pub(crate) fn handle_written(&mut self, bytes: usize) {
        if bytes > 0 && self.descriptor_at == Some(self.written) {
            self.descriptor_at = None;
        }
        self.written += bytes;
        if self.written == self.bytes.len() {
            self.written = 0;
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_BYTES);
        }
    }
}
