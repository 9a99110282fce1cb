//! `docs/options.md`, made from the table.

use std::fmt::Write;

use super::table::{OptionDef, Owner, Repeat, SectionKind, TABLE, Value};

const INTRODUCTION: &str = "\
# Options

This file is made from the table in `crates/core/src/options/table.rs`; to change it, change
the table and run `UPDATE_DOCS=1 cargo test -p kube-audit-core --lib options::docs`.

Letter case of names does not count. Fluent Bit refuses to start on an unknown option or an
invalid value; the error names the option and the fix. `kube-audit check FILE` finds the same
without a start, and also what Fluent Bit hides from plugins: a `Port` that is not a number is
port 24224 to it.

SIZE is a number of bytes, or of units: `k`, `M` and `G` are powers of 1,000, as in Fluent Bit's
own options, `KiB`, `MiB` and `GiB` powers of 1,024. TIME is a whole number with `ms`, `s`, `m` or `h`; without a unit it is in seconds. Flags are
`on`, `true`, `yes`, or `off`, `false`, `no`. `${NAME}` is replaced by an environment variable;
Fluent Bit replaces one that is not set by nothing, and an empty value is refused.
";

const UNLIKE_FORWARD: &str = "
Differences from `forward` of Fluent Bit 5.1 with the same section:

| option | here | `forward` |
|---|---|---|
| `Host` | must be set, or another receiver | 127.0.0.1 |
| `Require_ack_response` | on | off |
| `Retain_Metadata_In_Forward_Mode` | off | on since 5.0.5 |
| `Send_options` | always on | off |
| `Retry_Limit` | no_limits | 1, then the chunk is lost |
| `Workers` | 0, always | 2 |
| `Tag` | records of a tag share frames; an empty one is the record's own | a frame for each record; an empty one is sent |
| `Ack_Window` | 16 | 1 |
| `Max_Frame` | 900000 | a chunk, up to 2 MB |
| `Connect_Timeout`, `Idle_Timeout` | 5s, 30s | `net.connect_timeout` 10s, `net.keepalive_idle_timeout` 30s |
| `Write_Timeout`, `Ack_Timeout` | 10s, 190s | none |
| `Username` without `Password` | refused | an empty password |
| `tls.verify_hostname` | always on with `tls.verify on` | off |
| `tls.key_passwd`, `tls.ciphers` | refused | accepted |
| a failed node of `Upstream` | another node gets its frames within the same flush | the chunk is retried |
";

/// The text of `docs/options.md`.
fn markdown() -> String {
    let mut text = INTRODUCTION.to_owned();
    let is_ours = |def: &OptionDef| def.owner == Owner::Plugin;
    let is_in = |def: &OptionDef, section| def.is_in(section);
    let filter = |def: &OptionDef| is_ours(def) && is_in(def, SectionKind::Filter);
    let input = |def: &OptionDef| {
        is_ours(def) && is_in(def, SectionKind::Input) && !is_in(def, SectionKind::Filter)
    };
    let output = |def: &OptionDef| {
        is_ours(def) && is_in(def, SectionKind::Output) && !is_in(def, SectionKind::Filter)
    };
    let tls = |def: &OptionDef| def.name.starts_with("tls");
    let host = |def: &OptionDef| !is_ours(def) && !tls(def);
    let node = |def: &OptionDef| is_in(def, SectionKind::Node);
    chapter(
        &mut text,
        "Input, filter and output",
        "HTML entities that KKP's templates make of quotes (`&#34;`) and the like are undone in \
         `Policy`, `Policy_Env`, `Records`, `Regex`, `Exclude`, `Redact_Path(s)` and \
         `Redact_Keep(s)`; in `Redact_Key`, `Shared_Key`, `Username` and `Password` if the whole \
         value is escaped.",
        filter,
    );
    chapter(
        &mut text,
        "Input alone",
        "See [input.md](input.md) for when to use it, and for what `Acknowledge` means with each \
         output.",
        input,
    );
    chapter(
        &mut text,
        "Output alone",
        "Names are those of Fluent Bit's own `forward` output where it has one, so that a section \
         of it works when only `Name` changes. One receiver must be set: `Endpoint`, `Host`, \
         `Unix_Path` or `Upstream`.",
        output,
    );
    text.push_str(UNLIKE_FORWARD);
    chapter(
        &mut text,
        "TLS",
        "For the output and for nodes of an `Upstream` file. An option of TLS while `tls` is off is \
         refused, because the connection would be in the clear.",
        tls,
    );
    chapter(
        &mut text,
        "Fluent Bit's own",
        "Options that Fluent Bit reads itself.",
        host,
    );
    text.push_str(
        "\n## Nodes of an `Upstream` file\n\n\
         ```text\n[UPSTREAM]\n    name aggregators\n\n[NODE]\n    name       first\n    \
         host       logs-1.example\n    port       24224\n    tls        on\n    \
         shared_key ${FORWARD_KEY}\n```\n\n\
         A file whose name ends with `.yaml` or `.yml` is read in Fluent Bit's YAML form \
         (`upstream_servers`, Fluent Bit 3.2 and later). `name`, `host` and `port` must be set. \
         A node takes these options, with the same meaning as in a section:\n\n",
    );
    let names: Vec<_> = TABLE
        .iter()
        .filter(|def| node(def))
        .map(|def| format!("`{}`", def.name))
        .collect();
    let _ = writeln!(text, "{}.\n", names.join(", "));
    let only = |def: &OptionDef| def.sections == [SectionKind::Node];
    rows(&mut text, only);
    text
}

fn chapter(text: &mut String, title: &str, about: &str, filter: impl Fn(&OptionDef) -> bool) {
    let _ = writeln!(text, "\n## {title}\n\n{about}\n");
    rows(text, filter);
}

fn rows(text: &mut String, filter: impl Fn(&OptionDef) -> bool) {
    text.push_str("| option | value | default | meaning |\n|---|---|---|---|\n");
    for def in TABLE.iter().filter(|def| filter(def)) {
        let names: Vec<_> = def.names().map(|name| format!("`{name}`")).collect();
        let repeats = match def.repeat {
            Repeat::Once => "",
            Repeat::Any => " May repeat.",
        };
        // A bar would end the cell.
        let shape = def.value.shape().replace('|', "\\|");
        let default = match &def.value {
            _ if def.default.is_empty() => "–".to_owned(),
            Value::Text(_) => def.default.to_owned(),
            // A default that depends on something is a phrase.
            _ if def.default.contains(' ') => def.default.to_owned(),
            _ => format!("`{}`", def.default),
        };
        let _ = writeln!(
            text,
            "| {} | {shape} | {default} | {}{repeats} |",
            names.join(", "),
            def.help.trim().replace('|', "\\|"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_made_from_the_table() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/options.md");
        let text = markdown();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(file, &text).unwrap();
        }
        let found = std::fs::read_to_string(file).unwrap_or_default();
        assert!(
            found == text,
            "docs/options.md is not what the table says; run \
             `UPDATE_DOCS=1 cargo test -p kube-audit-core --lib options::docs`"
        );
    }
}
