//! Lines of the files that a command names.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::Failure;

/// Calls `each` with the lines of all files, without their line feeds; `-` and no
/// file at all are standard input.
pub(crate) fn for_each_line(
    files: &[OsString],
    mut each: impl FnMut(&Place<'_>, &[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let standard_input = [OsString::from("-")];
    let files = if files.is_empty() {
        &standard_input[..]
    } else {
        files
    };
    for file in files {
        let name = file.to_string_lossy();
        let failed = |error: io::Error| Failure::Io(format!("{name}: {error}"));
        let mut reader = open(file).map_err(failed)?;
        let mut place = Place {
            file: &name,
            line: 0,
        };
        let mut line = Vec::new();
        loop {
            line.clear();
            if reader.read_until(b'\n', &mut line).map_err(failed)? == 0 {
                break;
            }
            place.line = place.line.saturating_add(1);
            let line = line.strip_suffix(b"\n").unwrap_or(&line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !line.trim_ascii().is_empty() {
                each(&place, line)?;
            }
        }
    }
    Ok(())
}

/// The place of a line.
pub(crate) struct Place<'a> {
    /// The file's name.
    pub file: &'a str,
    /// The line's number, from 1.
    pub line: usize,
}

fn open(file: &OsString) -> io::Result<BufReader<Box<dyn Read>>> {
    let reader: Box<dyn Read> = if file == "-" {
        Box::new(io::stdin().lock())
    } else {
        let opened = File::open(file)?;
        match Path::new(file).extension() {
            Some(extension) if extension == "gz" => Box::new(MultiGzDecoder::new(opened)),
            _ => Box::new(opened),
        }
    };
    Ok(BufReader::with_capacity(1 << 16, reader))
}
