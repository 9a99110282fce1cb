//! The `kube-audit` tool.

fn main() {}
