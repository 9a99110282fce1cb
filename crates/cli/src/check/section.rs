//! What an instance would say of its options when it starts, without starting it.

use kube_audit_core::options::{
    CommonOptions, InputOptions, OptionError, Options, PolicySource, Properties, SectionKind,
    TextSource, table,
};
use kube_audit_core::policy::{Policy, Syntax};
use kube_audit_core::stage::detect::Detections;
use kube_audit_forward::options::{ForwardOptions, Remark};

/// The outcome for a section whose options are right.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Checked {
    /// Warnings that the plugin would log, except those about the policy.
    pub remarks: Vec<Remark>,
    /// The text of `Policy`, decoded; it is valid.
    pub inline_policy: Option<String>,
}

/// Checks a whole section, with the options that the host keeps to itself. Files and
/// environment variables are not looked at.
pub(super) fn check(kind: SectionKind, properties: &Properties) -> Result<Checked, OptionError> {
    let options = Options::section(kind, properties)?;
    options.check_host_values()?;
    let mut remarks = match kind {
        SectionKind::Output => ForwardOptions::check(&options)?,
        SectionKind::Input => {
            InputOptions::read(&options)?;
            Vec::new()
        }
        SectionKind::Filter | SectionKind::Node => Vec::new(),
    };
    let common = CommonOptions::read(&options)?;
    let of_redaction = common.redaction.remarks().into_iter();
    remarks.extend(of_redaction.map(|(option, text)| Remark {
        option,
        text: format!("`{option}`: {text}"),
    }));
    if let Some(detect) = &common.detect
        && let Some(TextSource::Inline(text)) = &detect.rules
    {
        let rules = Detections::parse(table::DETECT_RULES.name, text.as_bytes())
            .map_err(|error| OptionError::caused_by(table::DETECT_RULES, error))?;
        detect.compile(&rules)?;
    }
    let inline_policy = match common.policy {
        Some(PolicySource::Text(TextSource::Inline(text))) => {
            Policy::parse(table::POLICY.name, text.as_bytes(), Syntax::Inline)
                .map_err(|error| OptionError::caused_by(table::POLICY, error))?;
            Some(text)
        }
        _ => None,
    };
    Ok(Checked {
        remarks,
        inline_policy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(kind: SectionKind, lines: &[(&str, &str)]) -> Result<Checked, OptionError> {
        let own = |&(key, value): &(&str, &str)| (key.to_owned(), value.to_owned());
        let properties: Properties = lines.iter().map(own).collect();
        check(kind, &properties)
    }

    #[test]
    fn errors_are_those_of_a_start() {
        for (kind, lines, option, message) in [
            (
                SectionKind::Filter,
                &[("Policy", "{}")][..],
                Some("Policy"),
                "Policy:1:1: rules: a policy needs",
            ),
            (
                SectionKind::Filter,
                &[("Format", "xml")],
                Some("Format"),
                "`Format` is `xml`",
            ),
            (
                SectionKind::Output,
                &[("Match", "*")],
                None,
                "no receiver is set",
            ),
            (
                SectionKind::Output,
                &[("Host", "a"), ("Port", "x")],
                Some("Port"),
                "`Port` is `x`",
            ),
            (
                SectionKind::Output,
                &[("Host", "a"), ("tls", "on"), ("tls.ciphers", "x")],
                Some("tls.ciphers"),
                "`tls.ciphers` is not supported",
            ),
            (
                SectionKind::Output,
                &[("Host", "a"), ("Log_Level", "loud")],
                Some("Log_Level"),
                "`Log_Level` is `loud`",
            ),
        ] {
            let error = says(kind, lines).unwrap_err();
            assert_eq!(error.option(), option);
            assert!(error.to_string().contains(message), "{error}");
        }
    }

    #[test]
    fn the_policy_is_decoded_and_remarks_are_kept() {
        let policy = "{apiVersion: audit.k8s.io/v1, rules: [{level: None, user: [a]}]}";
        let checked = says(SectionKind::Filter, &[("Policy", policy), ("Match", "*")]).unwrap();
        assert_eq!(checked.inline_policy.as_deref(), Some(policy));
        let lines = [("Upstream", "/no/such"), ("Require_ack_response", "off")];
        let remarks = says(SectionKind::Output, &lines).unwrap().remarks;
        assert_eq!(remarks.len(), 1);
        assert_eq!(remarks[0].option, "Require_ack_response");
    }
}
