//! Words of commands, harmless ones and secrets.

use std::ops::Range;

use crate::stage::redact::list::List;
use crate::stage::redact::names::Names;
use crate::stage::redact::scan::{after, follows, from, is_space, is_word, run, skip};
use crate::stage::redact::spans::Spans;
use crate::stage::redact::{Mode, Redactor, net};

/// The first part of paths of files.
const ROOTS: List = List(
    "app bin boot config data dev etc home host kubernetes lib lib64 media mnt opt proc root run \
     sbin secrets srv sys tmp usr vault var workspace",
);

/// Commands, verbs and other words without which nobody could follow what was executed.
const WORDS: List = List(
    "sh bash ash dash zsh ksh busybox env printenv ls cat id whoami who ps top df du mount \
     umount uname hostname date pwd ip ifconfig route netstat ss ping nslookup dig getent \
     curl wget nc ncat netcat socat telnet ssh scp python python2 python3 perl ruby php node \
     java psql mysql mysqldump redis-cli mongo mongosh etcdctl kubectl helm git tar gzip \
     gunzip zip cp mv rm mkdir touch ln chmod chown find grep egrep sed awk cut sort uniq wc \
     tail head less more tee xargs echo printf sleep kill pkill pgrep nsenter chroot unshare \
     capsh sudo su apt apt-get yum dnf apk pip npm base64 openssl strace tcpdump lsof file \
     stat test true false exec export cd set if then else fi for do done while in tty status \
     list get version help start stop restart reload info logs show describe endpoint json \
     yaml exit clear command which type pg_isready select from x",
);

/// Operators of a shell that are not made of digits and brackets alone.
const OPERATORS: List =
    List(r"| || & && ; > >> < << <<< >& &> { } ( ) [ [[ ] ]] ! \ - -- * >&0 >&1 >&2 >&-");

/// True for the path of a file in a well-known folder.
pub(super) fn is_path(word: &[u8]) -> bool {
    let Some(rest) = word.strip_prefix(b"/") else {
        return false;
    };
    let rest = rest.strip_suffix(b"/").unwrap_or(rest);
    let mut parts = rest.split(|byte| *byte == b'/');
    let root = parts.next().unwrap_or_default();
    ROOTS.has(root)
        && parts.all(|part| {
            (1..=64).contains(&part.len())
                && part
                    .iter()
                    .all(|byte| is_word(*byte) || matches!(byte, b'.' | b'-'))
        })
}

/// True for a word that cannot be a secret.
pub(super) fn is_harmless(word: &[u8]) -> bool {
    is_operator(word) || WORDS.has(word) || is_path(word) || is_flag(word)
}

/// True for a word that may be the only word of a command: any plain name.
pub(super) fn is_harmless_command(word: &[u8]) -> bool {
    let name = word.strip_prefix(b"./").unwrap_or(word);
    let is_name = name.first().is_some_and(u8::is_ascii_alphabetic)
        && name.len() <= 32
        && name
            .iter()
            .all(|byte| is_word(*byte) || matches!(byte, b'.' | b'-'));
    is_name || is_harmless(word)
}

fn is_operator(word: &[u8]) -> bool {
    let is_number = word.len() <= 3 && word.iter().all(u8::is_ascii_digit);
    let redirection = match word {
        [digit, rest @ ..] if digit.is_ascii_digit() && rest.first() == Some(&b'>') => rest,
        _ => word,
    };
    let to_descriptor =
        matches!(redirection, [b'>', b'&', descriptor] if descriptor.is_ascii_digit());
    is_number || to_descriptor || redirection.is_empty() || OPERATORS.has(redirection)
}

fn is_flag(word: &[u8]) -> bool {
    match word {
        [b'-', b'-', first, rest @ ..] => {
            first.is_ascii_lowercase()
                && rest.len() < 40
                && rest
                    .iter()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-')
        }
        [b'-', letters @ ..] => {
            (1..=3).contains(&letters.len()) && letters.iter().all(u8::is_ascii_alphabetic)
        }
        _ => false,
    }
}

/// True for a word that is not a secret although one is expected: a path, a switch, or a
/// reference to a variable.
fn is_no_value(word: &[u8]) -> bool {
    matches!(word, b"true" | b"false") || is_path(word) || is_reference(word)
}

fn is_reference(word: &[u8]) -> bool {
    match word.strip_prefix(b"$") {
        Some([b'(' | b'{', ..]) => true,
        Some([first, rest @ ..]) => is_word(*first) && rest.iter().all(|byte| is_word(*byte)),
        _ => false,
    }
}

/// The end of a flag such as `-p` or `--db-pass` that begins at a place.
fn flag(text: &[u8], at: usize) -> Option<usize> {
    let dash = after(text, at, b"-")?;
    let name = skip(text, dash, |byte| byte == b'-');
    text.get(name)?.is_ascii_alphabetic().then(|| {
        run(text, name, |byte| {
            is_word(byte) || matches!(byte, b'.' | b'-')
        })
    })
}

/// The end of the name of a variable that begins at a place.
fn variable(text: &[u8], at: usize) -> Option<usize> {
    let first = text.get(at)?;
    (first.is_ascii_alphabetic() || *first == b'_')
        .then(|| run(text, at, |byte| is_word(byte) || byte == b'.'))
}

/// Goes through the words of a command in order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Command {
    /// Set after a flag with a secret name: the next word is its value.
    expects_secret: bool,
}

impl Command {
    /// Begins at the first word.
    pub(super) fn new() -> Command {
        Command {
            expects_secret: false,
        }
    }

    /// Steps over something that is not a string.
    pub(super) fn skip(&mut self) {
        self.expects_secret = false;
    }

    /// Collects what is secret in the next word.
    pub(super) fn word(
        &mut self,
        word: &[u8],
        mode: Mode,
        names: &Names,
        redactor: Redactor,
        spans: &mut Spans,
    ) {
        if mode == Mode::All {
            return spans.add_rest(word, 0, redactor);
        }
        let expects_secret = std::mem::take(&mut self.expects_secret);
        if expects_secret && !word.starts_with(b"-") {
            if !is_no_value(word) {
                spans.add_rest(word, 0, redactor);
            }
            return;
        }
        let flag = flag(word, 0);
        let name = flag.or_else(|| variable(word, 0));
        if let Some(end) = name
            && word.get(end) == Some(&b'=')
            && names.is_secret_name(word.get(..end).unwrap_or_default())
        {
            let value = end.saturating_add(1);
            if !is_no_value(from(word, value)) {
                spans.add_rest(word, value, redactor);
            }
            return;
        }
        if flag == Some(word.len()) {
            self.expects_secret = names.is_secret_name(word);
        }
        script(word, names, redactor, spans);
    }
}

/// Collects the values of flags and variables with a secret name inside a script, and
/// what the net catches.
pub(super) fn script(text: &[u8], names: &Names, redactor: Redactor, spans: &mut Spans) {
    for form in [value_after_flag, value_after_sign] {
        let mut at = 0;
        while at < text.len() {
            let Some((name, value)) = form(text, at) else {
                at = next_word(text, at);
                continue;
            };
            let hidden = text.get(value.clone()).unwrap_or_default();
            if names.is_secret_name(text.get(at..name).unwrap_or_default())
                && !is_no_value(hidden)
                && !hidden.starts_with(b"$")
            {
                spans.add(value.clone(), redactor);
            }
            at = value.end;
            if !follows(text, at, ends_word) {
                at = next_word(text, at);
            }
        }
    }
    net::catch(text, spans);
}

/// True for bytes that separate the words of a script.
fn ends_word(byte: u8) -> bool {
    is_space(byte) || b"\"';&|()".contains(&byte)
}

/// The next place at which a word of a script may begin.
fn next_word(text: &[u8], at: usize) -> usize {
    run(text, at, |byte| !ends_word(byte)).saturating_add(1)
}

/// The end of a flag, and the word after it: `--password VALUE`.
fn value_after_flag(text: &[u8], at: usize) -> Option<(usize, Range<usize>)> {
    let name = flag(text, at)?;
    let value = run(text, name, is_space);
    let value = (value > name).then(|| value_of_word(text, value))?;
    (text.get(value.start) != Some(&b'-')).then_some((name, value))
}

/// The end of a name, and what is assigned to it: `--password=VALUE`, `PASSWORD=VALUE`.
fn value_after_sign(text: &[u8], at: usize) -> Option<(usize, Range<usize>)> {
    let name = flag(text, at).or_else(|| variable(text, at))?;
    let value =
        (text.get(name) == Some(&b'=')).then(|| value_of_word(text, name.saturating_add(1)))?;
    Some((name, value))
}

/// The value that begins at a place: up to the quote that closes it, or to the end of the word.
fn value_of_word(text: &[u8], at: usize) -> Range<usize> {
    if let [quote @ (b'"' | b'\''), rest @ ..] = from(text, at)
        && let Some(length) = memchr::memchr(*quote, rest)
    {
        let begin = at.saturating_add(1);
        return begin..begin.saturating_add(length);
    }
    let start = skip(text, at, |byte| matches!(byte, b'"' | b'\''));
    let ends = |byte| ends_word(byte) && byte != b'(';
    start..run(text, start, |byte| !ends(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(words: &[&str], mode: Mode) -> String {
        let mut command = Command::new();
        let mut shown = Vec::new();
        for word in words {
            let mut spans = Spans::default();
            command.word(
                word.as_bytes(),
                mode,
                &Names::default(),
                Redactor::Args,
                &mut spans,
            );
            let (mut out, mut at) = (String::new(), 0);
            for span in spans.settle(word.as_bytes(), 0) {
                out += &word[at..span.at.start];
                out += "*";
                at = span.at.end;
            }
            shown.push(out + &word[at..]);
        }
        shown.join(" ")
    }

    #[test]
    fn values_of_flags_and_variables_are_hidden() {
        for (words, want) in [
            (&["--password=x", "--user=y"][..], "--password=* --user=y"),
            (&["--db-pass", "x", "y"], "--db-pass * y"),
            (&["-token", "-x", "y"], "-token -x y"),
            (&["--token", "/var/run/token"], "--token /var/run/token"),
            (&["--password=$(PASSWORD)"], "--password=$(PASSWORD)"),
            (&["API_KEY=x y"], "API_KEY=*"),
            (
                &["sh", "-c", "mysql --password x -u root"],
                "sh -c mysql --password * -u root",
            ),
            (
                &["x; PGPASSWORD='a b' psql; X=y"],
                "x; PGPASSWORD='*' psql; X=y",
            ),
            (
                &["a --token=$T && b --token $T"],
                "a --token=$T && b --token $T",
            ),
            (&["curl http://u:p@h"], "curl http://u:*@h"),
            (
                &["--token-file=/x", "--enable-token=true"],
                "--token-file=/x --enable-token=true",
            ),
        ] {
            assert_eq!(hidden(words, Mode::Named), want);
        }
        assert_eq!(hidden(&["a", ""], Mode::All), "* ");
    }

    #[test]
    fn words_that_cannot_be_secrets() {
        for word in [
            "",
            "sh",
            "-c",
            "-abc",
            "--no-headers",
            "|",
            "||",
            "2>&1",
            "2>",
            ">>",
            "200",
            "{",
            "/etc/shadow",
            "/dev/tcp/",
            "kubectl",
            "[[",
            "<<<",
            "x",
            "redis-cli",
        ] {
            assert!(is_harmless(word.as_bytes()), "{word}");
        }
        for word in [
            "hunter2", "-pSECRET", "--Token", "2000", "/srv2/x", "/etc/a b", "sh bash", "--a=b",
            "cat ", "-", // An operator: below.
        ] {
            assert!(word == "-" || !is_harmless(word.as_bytes()), "{word}");
        }
        assert!(is_harmless_command(b"./run-all.sh"));
        assert!(is_harmless_command(b"my_tool"));
        assert!(!is_harmless_command(b"a b"));
        assert!(!is_harmless_command(b"9lives"));
    }
}
