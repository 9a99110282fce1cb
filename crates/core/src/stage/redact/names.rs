//! Names that mark a value as a secret.
//!
//! Names are compared without case and without the separators `-`, `_`, `.` and blank.
//! A member of an object is judged strictly, because schemas use words such as `secret`
//! and `token` for references and versions; a name that somebody gave to a value (of an
//! environment variable, a flag, a parameter) is judged loosely.

use crate::stage::redact::list::Sorted;

/// The longest name that can be compared, without separators.
pub(super) const LONGEST: usize = 64;

/// Names of members that hold a secret.
static EXACT: Sorted<79> = Sorted::new(
    "accesskeysecret accesssecret accesstoken accountkey admintoken apikey apisecret apitoken \
     appkey applicationcredentialsecret applicationkey applicationsecret appsecret \
     authorizetoken authtoken bearertoken bindpw bootstraptoken bottoken clientkeydata \
     clientsecret connectionstring consumersecret cookieblockkey cookiehashkey cookiesecret \
     csikubeconfig dsn encryptionsecret githubtoken gitlabtoken googleservicecredentials \
     hmackey hmacsecret httpsecret idtoken inlineuserdata issuercookiekey jobtoken jointoken \
     jwtsecret jwtsigningkey kubeconfig onboardingticket passphrase passwd password \
     personalaccesstoken privatekey privatetoken pwd radiusserversecret rawkey refreshtoken \
     registrationtoken runnertoken sastoken secretaccesskey secretkey securitytoken \
     serviceaccountjson serviceaccountkey sessionsecret sessiontoken sharedkey sharedsecret \
     signingkey signingsecret slacktoken storageaccountkey tlsbootstraptoken tlskey token \
     tokensecret userdata userdatabase64 vaulttoken webhooksecret webhooktoken",
);

/// Functions that compare the letters of a name with some words: comparing takes less room
/// and time than a table.
macro_rules! names {
    (is, $letters:ident, $word:literal) => { $letters == $word.as_bytes() };
    (ends_in, $letters:ident, $word:literal) => { $letters.ends_with($word.as_bytes()) };
    ($($(#[$doc:meta])* $name:ident, $test:ident($($word:literal)*);)*) => {
        $($(#[$doc])* fn $name(letters: &[u8]) -> bool {
            $(names!($test, letters, $word))||*
        })*

        /// All words of these functions.
        #[cfg(test)]
        const WORDS: &[&str] = &[$($($word,)*)*];
    };
}

names! {
    /// Endings of members that hold a secret.
    has_secret_ending, ends_in(
        "password" "passphrase" "passwd" "accesstoken" "apitoken" "bearertoken" "authtoken"
        "sessiontoken" "refreshtoken" "bootstraptoken" "agenttoken" "secretaccesskey"
        "clientsecret" "apikey" "privatekey"
    );
    /// Further endings of names that somebody gave to a value.
    has_loose_ending, ends_in(
        "secretkey" "token" "secret" "pwd" "pass" "credentials" "sharedkey" "signingkey"
        "encryptionkey"
    );
    /// Headers of requests that hold a secret.
    is_header, is(
        "authorization" "proxyauthorization" "cookie" "setcookie" "xapikey" "xauthtoken"
        "xvaulttoken" "xamzsecuritytoken"
    );
    /// Parameters of URIs that hold a secret although their name alone would not say so.
    is_parameter, is(
        "token" "sig" "signature" "xamzsignature" "xamzsecuritytoken" "jwt" "bearer" "auth"
        "authorization" "code" "secret"
    );
    /// Members that hold a secret or the path of a file with it.
    is_path_or_secret, is(
        "privatekey" "tlskey" "kubeconfig" "csikubeconfig" "rawkey"
    );
}

/// A name without case and separators: its last [`LONGEST`] bytes.
struct Plain {
    bytes: [u8; LONGEST],
    start: usize,
    is_whole: bool,
}

impl Plain {
    fn of(name: &[u8]) -> Plain {
        let mut plain = Plain {
            bytes: [0; LONGEST],
            start: LONGEST,
            is_whole: true,
        };
        let letters = name.iter().rev().filter(|byte| !is_separator(**byte));
        for byte in letters {
            let Some(before) = plain.start.checked_sub(1) else {
                plain.is_whole = false;
                break;
            };
            plain.start = before;
            if let Some(place) = plain.bytes.get_mut(before) {
                *place = byte.to_ascii_lowercase();
            }
        }
        plain
    }

    fn tail(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// The whole name; empty where it is too long to be compared.
    fn whole(&self) -> &[u8] {
        if self.is_whole { self.tail() } else { &[] }
    }
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b'-' | b'_' | b'.' | b' ')
}

/// The last two letters of names of secrets.
const LAST_LETTERS: &[u8] = b"enonsneteyerrdwdseieredelsssngigtathpwwt64";

/// A bit for each two letters, by their lowest five bits: more than are meant.
static LAST: [u32; 32] = {
    let mut last = [0; 32];
    let mut at = 0;
    #[expect(
        clippy::indexing_slicing,
        clippy::as_conversions,
        reason = "evaluated at compile time: an error stops the build"
    )]
    while at < LAST_LETTERS.len() {
        last[(LAST_LETTERS[at] & 31) as usize] |= 1 << (LAST_LETTERS[at + 1] & 31);
        at += 2;
    }
    last
};

/// False for names that end in letters that no name of a secret ends in. Where separators
/// are the last letters, nothing is known.
#[inline]
fn ends_plausibly(name: &[u8]) -> bool {
    let Some([before, last]) = name.last_chunk() else {
        return false;
    };
    let bits = LAST
        .get(usize::from(before & 31))
        .copied()
        .unwrap_or_default();
    bits >> (last & 31) & 1 == 1
        || !(before.is_ascii_alphanumeric() && last.is_ascii_alphanumeric())
}

/// The names that hold a secret: those of every installation, and the user's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Without case and separators, none longer than [`LONGEST`].
    more: Vec<Box<[u8]>>,
}

impl Names {
    /// Adds a name; false if there is nothing in it to compare, or too much.
    pub fn add(&mut self, name: &[u8]) -> bool {
        let plain = Plain::of(name);
        let whole = plain.whole();
        if !whole.is_empty() {
            self.more.push(whole.into());
        }
        !whole.is_empty()
    }

    fn has(&self, plain: &Plain) -> bool {
        let whole = plain.whole();
        EXACT.has(whole) || self.more.iter().any(|name| **name == *whole)
    }

    /// True if there are names beside the built-in ones.
    pub fn has_more(&self) -> bool {
        !self.more.is_empty()
    }

    /// False if the last letters of a name tell that it is not that of a secret.
    pub fn is_plausible(&self, name: &[u8]) -> bool {
        self.has_more() || ends_plausibly(name)
    }

    /// True if a member of this name holds a secret. Of an annotation the part after `/` counts.
    pub fn is_secret_member(&self, key: &[u8]) -> bool {
        if !self.is_plausible(key) {
            return false;
        }
        let plain = Plain::of(after_last(key, b"/"));
        self.has(&plain) || has_secret_ending(plain.tail())
    }

    /// True if a name that somebody gave to a value is that of a secret.
    pub fn is_secret_name(&self, name: &[u8]) -> bool {
        if !self.is_plausible(name) {
            return false;
        }
        let is_around = |byte: &u8| matches!(byte, b'-' | b']');
        let mut name = name;
        while let [first, rest @ ..] = name
            && is_around(first)
        {
            name = rest;
        }
        while let [rest @ .., last] = name
            && is_around(last)
        {
            name = rest;
        }
        let plain = Plain::of(after_last(name, b"./["));
        self.has(&plain)
            || is_header(plain.whole())
            || has_secret_ending(plain.tail())
            || has_loose_ending(plain.tail())
    }

    /// True if a parameter of a URI holds a secret.
    pub fn is_secret_parameter(&self, name: &[u8]) -> bool {
        self.is_plausible(name)
            && (self.has_more() || !is_parameter_of_api(name))
            && (is_parameter(Plain::of(name).whole()) || self.is_secret_name(name))
    }
}

/// True for the parameters of nearly all requests, which are no secrets.
fn is_parameter_of_api(name: &[u8]) -> bool {
    matches!(
        name,
        b"resourceVersion"
            | b"timeoutSeconds"
            | b"fieldManager"
            | b"fieldValidation"
            | b"allowWatchBookmarks"
            | b"labelSelector"
            | b"fieldSelector"
            | b"resourceVersionMatch"
            | b"sendInitialEvents"
            | b"continue"
            | b"timeout"
            | b"watch"
            | b"limit"
            | b"dryRun"
            | b"force"
    )
}

/// True if a member of this name may hold the path of a file instead of a secret.
pub(super) fn may_be_path(key: &[u8]) -> bool {
    is_path_or_secret(Plain::of(key).whole())
}

/// True for the member that is a name, not a secret, beside a reference to a Secret.
pub(super) fn is_secret_key(key: &[u8]) -> bool {
    Plain::of(key).whole() == b"secretkey"
}

/// All names that are known to hold a secret.
#[cfg(test)]
pub fn all() -> impl Iterator<Item = &'static str> {
    EXACT.words().chain(WORDS.iter().copied())
}

fn after_last<'a>(text: &'a [u8], separators: &[u8]) -> &'a [u8] {
    text.rsplit(|byte| separators.contains(byte))
        .next()
        .unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_can_be_searched() {
        assert!(EXACT.words().is_sorted());
    }

    #[test]
    fn members_are_judged_strictly() {
        let names = Names::default();
        for key in [
            "password",
            "adminPassword",
            "DB_PASSWORD",
            "api-key",
            "example.com/bot-token",
            "userData",
            "secretAccessKey",
        ] {
            assert!(names.is_secret_member(key.as_bytes()), "{key}");
        }
        for key in [
            "",
            "secret",
            "secretName",
            "updateToken",
            "pemSecretKey",
            "automountServiceAccountToken",
            "tokenUrl",
            "password/x",
        ] {
            assert!(!names.is_secret_member(key.as_bytes()), "{key}");
        }
    }

    #[test]
    fn given_names_are_judged_loosely() {
        let names = Names::default();
        for name in [
            "--db-pass",
            "auth[token]",
            "global.registry.secret",
            "X-Api-Key",
            "Authorization",
            "AWS_SHARED_KEY",
        ] {
            assert!(names.is_secret_name(name.as_bytes()), "{name}");
        }
        for name in ["", "--", "LOG_LEVEL", "token-url", "compass/x", "key"] {
            assert!(!names.is_secret_name(name.as_bytes()), "{name}");
        }
        assert!(names.is_secret_parameter(b"X-Amz-Signature"));
        assert!(!names.is_secret_parameter(b"continue"));
    }

    #[test]
    fn names_of_the_user_count() {
        let mut names = Names::default();
        assert!(names.add(b"Pin-Code"));
        assert!(!names.add(b"-"));
        assert!(!names.add(&[b'x'; LONGEST + 1]));
        assert!(names.is_secret_member(b"pinCode"));
        assert!(names.is_secret_name(b"--pin-code"));
        assert!(!names.is_secret_member(b"pinCodes"));
    }

    #[test]
    fn long_names_are_judged_by_their_end() {
        let names = Names::default();
        let long = [vec![b'x'; 10_000], b"-pass-word".to_vec()].concat();
        assert!(names.is_secret_member(&long));
        assert!(!names.is_secret_member(&long[..9000]));
    }
}
