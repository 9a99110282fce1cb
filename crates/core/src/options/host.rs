//! Settings of an output section that the host keeps to itself.

/// What the host keeps of an output section instead of handing it on as properties.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostSettings {
    /// `Host`.
    pub host: Option<String>,
    /// `Port`.
    pub port: Option<u16>,
    /// `tls on` and what goes with it.
    pub tls: Option<HostTls>,
}

/// The `tls.*` options as the host keeps them, each named after its option.
///
/// `tls.verify_hostname` is not among them: the host's default is off, and it
/// does not tell a default from a choice.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the option of that name")]
pub struct HostTls {
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
