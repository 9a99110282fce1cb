//! The shared object as a host sees it: its entry points, called by a small host in C,
//! and the file itself.

mod entry_points;
mod inputs;
mod library_file;
