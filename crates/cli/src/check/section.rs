//! What an instance would say of its options when it starts, without starting it.

use kube_audit_core::options::{
    FILTER_ONLY, HostSettings, HostTls, OptionError, Options, PolicySource, Properties, wrong,
};
use kube_audit_core::policy::{Policy, Syntax};
use kube_audit_forward::options::{ForwardOptions, OWN};

/// The two kinds of plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// `[FILTER]`, or a processor.
    Filter,
    /// `[OUTPUT]`
    Output,
}

impl Door {
    /// Its options beside those that both have.
    fn own(self) -> &'static [&'static str] {
        match self {
            Door::Filter => &FILTER_ONLY,
            Door::Output => &OWN,
        }
    }
}

/// What is known of a section whose options are right.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// What would be a warning in the log, but for the policy's own.
    pub remarks: Vec<&'static str>,
    /// The text of `Policy`, decoded; it is valid.
    pub inline_policy: Option<String>,
}

/// Options in which the plugin undoes the entities that KKP's templates make of characters.
pub const ENTITIES_UNDONE: [&str; 7] = [
    "Exclude",
    "Password",
    "Policy",
    "Records",
    "Regex",
    "Shared_Key",
    "Username",
];

/// What is wrong with the name of an option; `None` if there is one of that name.
pub fn unknown_option(door: Door, name: &str) -> Option<OptionError> {
    let properties = vec![(name.to_owned(), String::new())];
    Options::new(&properties, door.own()).err()
}

/// Checks a whole section, with the options that the host keeps to itself. Files and
/// environment variables are not looked at: `Upstream` must not be among the properties.
pub fn check(door: Door, properties: &Properties) -> Result<Checked, OptionError> {
    let mut checked = Checked::default();
    let common = match door {
        Door::Filter => {
            let options = Options::new(properties, door.own())?;
            options.on_panic()?;
            options.common()?
        }
        Door::Output => {
            let options = Options::new(properties, door.own())?;
            let host = host_settings(&options)?;
            checked.remarks = ForwardOptions::new(&options, &host)?.remarks;
            options.common()?
        }
    };
    if let Some(PolicySource::Inline(text)) = &common.policy {
        Policy::parse("Policy", text.as_bytes(), Syntax::Inline)
            .map_err(|error| OptionError(error.to_string()))?;
        checked.inline_policy = Some(text.clone());
    }
    Ok(checked)
}

/// What the host would hand on beside the properties.
fn host_settings(options: &Options<'_>) -> Result<HostSettings, OptionError> {
    let text = |name| options.all(name).last().map(str::to_owned);
    let port = match text("port") {
        None => None,
        Some(port) => {
            let number = port.parse();
            Some(number.map_err(|_| wrong("port", &port, "use a number from 1 to 65535"))?)
        }
    };
    let is_on = |name, default| {
        options.all(name).last().map_or(default, |value| {
            ["on", "true", "yes"]
                .iter()
                .any(|on| on.eq_ignore_ascii_case(value))
        })
    };
    let tls = is_on("tls", false).then(|| HostTls {
        verify: is_on("tls.verify", true),
        vhost: text("tls.vhost"),
        ca_path: text("tls.ca_path"),
        ca_file: text("tls.ca_file"),
        crt_file: text("tls.crt_file"),
        key_file: text("tls.key_file"),
        key_passwd: text("tls.key_passwd"),
        min_version: text("tls.min_version"),
        max_version: text("tls.max_version"),
        ciphers: text("tls.ciphers"),
    });
    Ok(HostSettings {
        host: text("host"),
        port,
        tls,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(door: Door, lines: &[(&str, &str)]) -> Result<Checked, String> {
        let own = |&(key, value): &(&str, &str)| (key.to_owned(), value.to_owned());
        let properties: Properties = lines.iter().map(own).collect();
        check(door, &properties).map_err(|error| error.to_string())
    }

    #[test]
    fn what_a_start_would_say() {
        let policy = "{apiVersion: audit.k8s.io/v1, rules: [{level: None, user: [a]}]}";
        let checked = says(Door::Filter, &[("Policy", policy), ("Match", "*")]).unwrap();
        assert_eq!(checked.inline_policy.as_deref(), Some(policy));
        for (door, lines, error) in [
            (
                Door::Filter,
                &[("Plicy", "x")][..],
                "did you mean `Policy`?",
            ),
            (
                Door::Filter,
                &[("Policy", "{}")],
                "Policy:1:1: rules: a policy needs",
            ),
            (
                Door::Filter,
                &[("Endpoint", "a:1")],
                "unknown option `Endpoint`",
            ),
            (Door::Output, &[("Match", "*")], "no receiver is set"),
            (
                Door::Output,
                &[("Host", "a"), ("Port", "x")],
                "`Port` is `x`",
            ),
            (
                Door::Output,
                &[("Host", "a"), ("tls", "on"), ("tls.ciphers", "x")],
                "`tls.ciphers` is `x`",
            ),
        ] {
            let found = says(door, lines).unwrap_err();
            assert!(found.contains(error), "{found}, not {error}");
        }
        let checked = says(
            Door::Output,
            &[
                ("Host", "a"),
                ("Port", "24225"),
                ("Require_ack_response", "off"),
            ],
        );
        assert_eq!(checked.unwrap().remarks.len(), 1);
    }
}
