//! The `kube-audit` tool.

fn main() -> std::process::ExitCode {
    kube_audit_cli::main()
}
