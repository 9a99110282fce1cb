//! Destination of what a command writes.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};

use super::Failure;
use super::args::Out;

/// Standard output, or the file that `-o` names.
pub(crate) struct Output {
    name: String,
    to: BufWriter<Box<dyn Write>>,
    colours: bool,
}

impl Output {
    /// Opens the destination; a file is made anew.
    pub(crate) fn open(out: &Out) -> Result<Output, Failure> {
        let Some(path) = &out.out_file else {
            return Ok(Output {
                name: "standard output".to_owned(),
                to: BufWriter::with_capacity(SIZE, Box::new(io::stdout().lock())),
                colours: io::stdout().is_terminal()
                    && wants_colours(
                        |name| std::env::var_os(name).is_some_and(|value| !value.is_empty()),
                        std::env::var("TERM").ok().as_deref(),
                    ),
            });
        };
        let name = path.display().to_string();
        let file = File::create(path).map_err(|error| Failure::Io(format!("{name}: {error}")))?;
        Ok(Output {
            name,
            to: BufWriter::with_capacity(SIZE, Box::new(file)),
            colours: false,
        })
    }

    /// True if the reader is a person at a terminal who did not refuse colours.
    pub(crate) fn has_colours(&self) -> bool {
        self.colours
    }

    /// Writes bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let written = self.to.write_all(bytes);
        written.map_err(|error| self.failure(&error))
    }

    /// Writes what is still buffered; without it, a failed write would go unnoticed.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        let flushed = self.to.flush();
        flushed.map_err(|error| self.failure(&error))
    }

    fn failure(&self, error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::Closed,
            _ => Failure::Io(format!("{}: {error}", self.name)),
        }
    }
}

const SIZE: usize = 1 << 16;

/// Follows <https://no-color.org> and what terminals without colours call themselves.
fn wants_colours(is_set: impl Fn(&str) -> bool, term: Option<&str>) -> bool {
    !is_set("NO_COLOR") && term != Some("dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_can_be_refused() {
        assert!(wants_colours(|_| false, Some("xterm")));
        assert!(!wants_colours(|name| name == "NO_COLOR", Some("xterm")));
        assert!(!wants_colours(|_| false, Some("dumb")));
    }

    #[test]
    fn files_are_written_whole() {
        let path = std::env::temp_dir().join(format!("kube-audit-output-{}", std::process::id()));
        let out = Out {
            out_file: Some(path.clone()),
        };
        let mut output = Output::open(&out).map_err(|_| ()).unwrap();
        assert!(!output.has_colours());
        output.write(b"a").map_err(|_| ()).unwrap();
        output.finish().map_err(|_| ()).unwrap();
        let written = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(written, b"a");
    }

    #[test]
    fn a_full_device_is_a_failure() {
        let out = Out {
            out_file: Some("/dev/full".into()),
        };
        let mut output = Output::open(&out).map_err(|_| ()).unwrap();
        let result = output.write(b"a").and_then(|()| output.finish());
        assert!(matches!(result, Err(Failure::Io(message)) if message.starts_with("/dev/full: ")));
    }
}
