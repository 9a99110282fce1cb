//! The tool `kube-audit`, run as a program.

mod check;
mod commands;
