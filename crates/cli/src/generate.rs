//! `kube-audit generate`: shell completions and man pages, made from the definition of the
//! command line.

use std::fs;

use clap::CommandFactory;

use super::args::{Cli, Generate, Generated, Out};
use super::output::Output;
use super::{Exit, Failure};

pub(crate) fn run(arguments: Generate) -> Result<Exit, Failure> {
    let mut command = Cli::command();
    match arguments.what {
        Generated::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, "kube-audit", &mut script);
            let mut out = Output::open(&Out { out_file: None })?;
            out.write(&script)?;
            out.finish()?;
        }
        Generated::Man { directory } => {
            let failed = |error| Failure::Io(format!("{}: {error}", directory.display()));
            fs::create_dir_all(&directory).map_err(failed)?;
            clap_mangen::generate_to(command, &directory).map_err(failed)?;
        }
    }
    Ok(Exit::Done)
}
