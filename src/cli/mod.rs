//! The `kube-audit` tool.
