//! The table in `docs/detections.md`.

use std::fmt::Write;

use super::catalog::BUILTINS;

/// Marks around the table.
const MARKS: [&str; 2] = ["<!-- table -->\n", "<!-- end of table -->\n"];

fn table() -> String {
    let mut text = "| id | severity | technique | level | what happened | it fires for |\n\
                    |---|---|---|---|---|---|\n"
        .to_owned();
    for builtin in BUILTINS {
        let cases: Vec<String> = builtin.describe().collect();
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} | {} |",
            builtin.id,
            builtin.severity,
            builtin.technique,
            builtin.level.name(),
            builtin.title(),
            cases.join(" — or ")
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_the_table() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/detections.md");
        let page = std::fs::read_to_string(file).unwrap();
        let [begin, end] = MARKS;
        let (before, rest) = page.split_once(begin).unwrap();
        let (found, after) = rest.split_once(end).unwrap();
        let table = table();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            let page = [before, begin, &table, end, after].concat();
            return std::fs::write(file, page).unwrap();
        }
        assert!(
            found == table,
            "the table in docs/detections.md is not that of the catalog; run \
             `UPDATE_DOCS=1 cargo test -p kube-audit-core --lib detect`"
        );
    }
}
