//! What is said of an option that is wrong.

/// An option that is wrong, in words that name it, what was found and what would be right.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct OptionError(pub String);

/// An error that names an option, the value found and what would be right.
pub fn wrong(name: &str, value: &str, right: &str) -> OptionError {
    OptionError(format!("`{}` is `{value}`: {right}", display_name(name)))
}

/// An option's name as the documentation writes it: `policy_file` is `Policy_File`.
pub fn display_name(name: &str) -> String {
    match name {
        // The host's own write these in lower case.
        _ if name.contains('.') => name.to_owned(),
        // record_modifier's documentation writes these so.
        "remove_key" | "allowlist_key" | "whitelist_key" | "uuid_key" => {
            name[..1].to_uppercase() + &name[1..]
        }
        _ => name
            .split('_')
            .map(|part| part[..1].to_uppercase() + &part[1..])
            .collect::<Vec<_>>()
            .join("_"),
    }
}
