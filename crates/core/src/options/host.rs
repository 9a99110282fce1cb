//! Settings of an output section that the host keeps to itself.

use super::table::{self, OptionDef};

/// The options of an output section that the host keeps instead of handing them on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostSettings {
    /// `Host`.
    pub host: Option<String>,
    /// `Port`; the host does not tell one that is not a number from none.
    pub port: Option<u16>,
    /// `tls` and what goes with it; `None` where the host is not asked.
    pub tls: Option<HostTls>,
}

/// The `tls.*` options as the host keeps them, each named after its option.
///
/// `tls.verify_hostname` is not among them: the host's default is off, and it
/// does not tell a default from a choice.
#[derive(Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the option of that name")]
pub struct HostTls {
    /// `tls`.
    pub on: bool,
    pub verify: bool,
    pub vhost: Option<String>,
    pub ca_path: Option<String>,
    pub ca_file: Option<String>,
    pub crt_file: Option<String>,
    pub key_file: Option<String>,
    pub key_passwd: Option<String>,
    pub min_version: Option<String>,
    pub max_version: Option<String>,
    pub ciphers: Option<String>,
}

impl std::fmt::Debug for HostTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A password of a key is among the fields.
        f.debug_struct("HostTls")
            .field("on", &self.on)
            .field("verify", &self.verify)
            .finish_non_exhaustive()
    }
}

impl HostSettings {
    /// The settings as options of the section.
    pub(super) fn options(&self) -> impl Iterator<Item = (&'static OptionDef, String)> {
        let port = self.port.map(|port| port.to_string());
        let address = [(table::HOST, self.host.clone()), (table::PORT, port)];
        let tls = self.tls.iter().flat_map(|tls| {
            let switch = |is: bool, word: &str| is.then(|| word.to_owned());
            [
                (table::TLS, switch(tls.on, "on")),
                (table::TLS_VERIFY, switch(!tls.verify, "off")),
                (table::TLS_VHOST, tls.vhost.clone()),
                (table::TLS_CA_PATH, tls.ca_path.clone()),
                (table::TLS_CA_FILE, tls.ca_file.clone()),
                (table::TLS_CRT_FILE, tls.crt_file.clone()),
                (table::TLS_KEY_FILE, tls.key_file.clone()),
                (table::TLS_KEY_PASSWD, tls.key_passwd.clone()),
                (table::TLS_MIN_VERSION, tls.min_version.clone()),
                (table::TLS_MAX_VERSION, tls.max_version.clone()),
                (table::TLS_CIPHERS, tls.ciphers.clone()),
            ]
        });
        let all = address.into_iter().chain(tls);
        all.filter_map(|(def, value)| Some((def, value?)))
    }
}
