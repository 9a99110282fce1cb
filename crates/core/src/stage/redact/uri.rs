//! Request URIs: their queries, and the parts of paths that are secrets.

use std::ops::Range;

use crate::doc::Text;
use crate::stage::redact::list::List;
use crate::stage::redact::names::Names;
use crate::stage::redact::scan::{find, from, run};
use crate::stage::redact::spans::Spans;
use crate::stage::redact::words::{Command, is_harmless, is_harmless_command};
use crate::stage::redact::{Mode, Redactor, Settings, Target, net};

/// Parameters of `exec` and `attach` that are never secrets.
const STREAMS: List = List("container stdin stdout stderr tty timeout");

/// Separators of words in a command that is one parameter.
const BLANKS: List = List("+ %20 %09 %0A %0a %0D %0d");

/// The way in which a query is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Query {
    /// The query of a command that is run in a container.
    Command,
    /// The query of a request that is passed on.
    Proxied,
    Other,
}

/// False if the raw text of a URI is known not to name a resource of the API: `/healthz`,
/// `/apis/apps/v1`.
pub(super) fn may_have_resource(path: &[u8]) -> bool {
    if matches!(path, [b'/', first, ..] if first.is_ascii_lowercase() && *first != b'a') {
        return false;
    }
    let question = memchr::memchr(b'?', path).unwrap_or(path.len());
    let path = path.get(..question).unwrap_or(path);
    let least = if path.starts_with(b"/apis/") { 4 } else { 3 };
    memchr::memchr_iter(b'/', path).count() >= least || memchr::memchr2(b'%', b'\\', path).is_some()
}

/// True for subresources whose URIs are read in a way of their own.
pub(super) fn is_special(subresource: Option<Text<'_>>) -> bool {
    subresource.is_some_and(|text| {
        text.escaped || matches!(text.raw, b"exec" | b"attach" | b"proxy" | b"webhooks")
    })
}

/// False if a quick look at the raw text of a URI finds no name because of which something
/// would be hidden. The net and special subresources are looked at elsewhere.
pub(super) fn may_hide(raw: &[u8], settings: &Settings) -> bool {
    if raw.starts_with(b"\"/api/v1/proxy/") || raw.starts_with(b"/api/v1/proxy/") {
        return true;
    }
    let Some(question) = memchr::memchr(b'?', raw) else {
        return false;
    };
    if settings.names.has_more() {
        return true;
    }
    let query = from(raw, question);
    // Letters need no percent-coding; who codes them hides something.
    let codes_letter = |at| match from(query, at) {
        [_, b'4'..=b'7', ..] => true,
        [_, b'3', digit, ..] => digit.is_ascii_digit(),
        _ => false,
    };
    memchr::memchr_iter(b'=', query).any(|at| {
        let before = query.get(..at).unwrap_or_default();
        settings.names.is_secret_parameter(last_key(before))
    }) || memchr::memchr_iter(b'%', query).any(codes_letter)
}

/// The key that a part of a query ends in, raw: in JSON, Go writes an ampersand as `\u0026`.
fn last_key(query: &[u8]) -> &[u8] {
    let mut keys = query.rsplit(|byte| matches!(byte, b'?' | b'&' | b'=' | b'\\'));
    let key = keys.next().unwrap_or_default();
    key.strip_prefix(b"u0026").unwrap_or(key)
}

/// Collects the secrets in the URI of a request for `target`. `spare` is a buffer.
pub(super) fn hide(
    uri: &[u8],
    target: &Target<'_>,
    settings: &Settings,
    spare: &mut Vec<u8>,
    spans: &mut Spans,
) {
    let question = memchr::memchr(b'?', uri).unwrap_or(uri.len());
    let path = uri.get(..question).unwrap_or_default();
    hide_path(path, target, settings, spans);
    catch_coded(path, 0..path.len(), settings, spare, spans);
    if question >= uri.len() {
        return;
    }
    let is_exec = target.resource == b"pods"
        && matches!(target.subresource, b"exec" | b"attach")
        && settings.is_on(Redactor::Exec);
    let query = if is_exec {
        Query::Command
    } else if is_proxied(path, target) && settings.is_on(Redactor::Proxy) {
        Query::Proxied
    } else {
        Query::Other
    };
    let mut words = Words::new();
    let mut at = question.saturating_add(1);
    while at <= uri.len() {
        let end = run(uri, at, |byte| byte != b'&');
        let key_end = run(uri, at, |byte| !matches!(byte, b'&' | b'='));
        let parameter = Parameter {
            uri,
            key: at..key_end,
            value: (key_end < end).then_some(key_end.saturating_add(1)..end),
        };
        match query {
            Query::Command => parameter.hide_command(&mut words, settings, spare, spans),
            Query::Proxied => parameter.hide_proxied(spare, spans),
            Query::Other => parameter.hide_by_name(settings, spare, spans),
        }
        at = end.saturating_add(1);
    }
}

/// Hides the last part of a path, if it is the name of the object: a token.
pub(super) fn hide_name(uri: &[u8], name: &[u8], spans: &mut Spans) {
    let path = uri.split(|byte| *byte == b'?').next().unwrap_or_default();
    let Some(start) = memchr::memrchr(b'/', path).map(|slash| slash.saturating_add(1)) else {
        return;
    };
    let is_name = !name.is_empty() && from(path, start) == name;
    if is_name && !name.starts_with(b"sha256~") {
        spans.add(start..path.len(), Redactor::Crd);
    }
}

/// True if the server passes the request on to somebody else.
fn is_proxied(path: &[u8], target: &Target<'_>) -> bool {
    target.subresource == b"proxy" || target.verb == b"proxy" || path.starts_with(b"/api/v1/proxy/")
}

fn hide_path(path: &[u8], target: &Target<'_>, settings: &Settings, spans: &mut Spans) {
    let is_webhook = target.group == b"build.openshift.io"
        && target.resource == b"buildconfigs"
        && target.subresource == b"webhooks";
    if is_webhook
        && settings.is_on(Redactor::Uri)
        && let Some(at) = find(path, 0, b"/webhooks/")
    {
        let at = at.saturating_add(b"/webhooks/".len());
        spans.add(at..run(path, at, |byte| byte != b'/'), Redactor::Uri);
    }
    if settings.mode(Redactor::Proxy) == Mode::All
        && is_proxied(path, target)
        && let Some(at) = find(path, 0, b"/proxy/")
    {
        let rest = at.saturating_add(b"/proxy/".len());
        spans.add_rest(path, rest, Redactor::Proxy);
    }
}

/// Collects what the net catches in a part of a URI. A catch that needs
/// percent-decoding hides the whole part.
fn catch_coded(
    uri: &[u8],
    part: Range<usize>,
    settings: &Settings,
    spare: &mut Vec<u8>,
    spans: &mut Spans,
) {
    if !settings.is_on(Redactor::Net) {
        return;
    }
    let text = uri.get(part.clone()).unwrap_or_default();
    let before = spans.count();
    spans.within(part.start, |spans| net::catch(text, spans));
    if spans.count() > before || !text.contains(&b'%') {
        return;
    }
    decode(text, Plus::IsBlank, spare);
    net::catch(spare, spans);
    if spans.count() > before {
        spans.truncate(before);
        spans.add(part, Redactor::Net);
    }
}

/// One parameter of a query.
struct Parameter<'a> {
    uri: &'a [u8],
    key: Range<usize>,
    /// The value; `None` without `=`.
    value: Option<Range<usize>>,
}

impl Parameter<'_> {
    fn text(&self, range: &Range<usize>) -> &[u8] {
        self.uri.get(range.clone()).unwrap_or_default()
    }

    /// The value; without `=`, the key.
    fn value_or_key(&self) -> Range<usize> {
        self.value.clone().unwrap_or_else(|| self.key.clone())
    }

    fn hide_command(
        &self,
        words: &mut Words,
        settings: &Settings,
        spare: &mut Vec<u8>,
        spans: &mut Spans,
    ) {
        decode(self.text(&self.key), Plus::IsBlank, spare);
        if STREAMS.has(spare) {
            let value = self.value_or_key();
            return catch_coded(self.uri, value, settings, spare, spans);
        }
        if spare != b"command" {
            return spans.add(self.value_or_key(), Redactor::Exec);
        }
        if let Some(value) = &self.value {
            let text = self.text(value);
            spans.within(value.start, |spans| {
                words.parameter(text, settings, spare, spans);
            });
        }
    }

    fn hide_proxied(&self, spare: &mut Vec<u8>, spans: &mut Spans) {
        if self.value.is_some() {
            decode(self.text(&self.key), Plus::IsBlank, spare);
            let is_plain = (1..=64).contains(&spare.len())
                && spare
                    .iter()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"_.[]-".contains(byte));
            if !is_plain {
                spans.add(self.key.clone(), Redactor::Proxy);
            }
        }
        spans.add(self.value_or_key(), Redactor::Proxy);
    }

    fn hide_by_name(&self, settings: &Settings, spare: &mut Vec<u8>, spans: &mut Spans) {
        if let Some(value) = &self.value
            && settings.is_on(Redactor::Uri)
        {
            decode(self.text(&self.key), Plus::IsBlank, spare);
            if settings.names.is_secret_parameter(spare) {
                return spans.add(value.clone(), Redactor::Uri);
            }
            catch_coded(self.uri, self.key.clone(), settings, spare, spans);
        }
        catch_coded(self.uri, self.value_or_key(), settings, spare, spans);
    }
}

/// Goes through the parameters that make up a command.
struct Words {
    is_first: bool,
    command: Command,
}

impl Words {
    fn new() -> Words {
        Words {
            is_first: true,
            command: Command::new(),
        }
    }

    fn parameter(
        &mut self,
        value: &[u8],
        settings: &Settings,
        spare: &mut Vec<u8>,
        spans: &mut Spans,
    ) {
        let is_first = std::mem::take(&mut self.is_first);
        match settings.mode(Redactor::Exec) {
            Mode::All => {
                decode(value, Plus::IsPlus, spare);
                if !(is_first && is_harmless_command(spare)) {
                    spans.add_rest(value, 0, Redactor::Exec);
                }
            }
            Mode::Named => self.named(value, &settings.names, spare, spans),
            _ => by_words(value, is_first, spare, spans),
        }
    }

    /// Hides a word that is, or holds, a secret by the names of flags and variables.
    fn named(&mut self, value: &[u8], names: &Names, spare: &mut Vec<u8>, spans: &mut Spans) {
        decode(value, Plus::IsBlank, spare);
        let before = spans.count();
        self.command
            .word(spare, Mode::Named, names, Redactor::Exec, spans);
        // The parts found are parts of the decoded word.
        let is_secret = spans.count() > before;
        spans.truncate(before);
        if is_secret {
            spans.add_rest(value, 0, Redactor::Exec);
        }
    }
}

/// Hides the words of a value that are not known to be harmless.
fn by_words(value: &[u8], is_first: bool, spare: &mut Vec<u8>, spans: &mut Spans) {
    let mut is_alone = is_first;
    let mut at = 0;
    loop {
        let mut end = at;
        let blank = loop {
            end = run(value, end, |byte| !matches!(byte, b'+' | b'%'));
            let rest = from(value, end);
            match BLANKS.begins(rest) {
                None if rest.is_empty() => break 0,
                None => end = end.saturating_add(1),
                Some(blank) => break blank.len(),
            }
        };
        is_alone &= blank == 0;
        let word = value.get(at..end).unwrap_or_default();
        decode(word, Plus::IsPlus, spare);
        let is_harmless = if is_alone {
            is_harmless_command(spare)
        } else {
            is_harmless(spare)
        };
        if !is_harmless {
            spans.add(at..end, Redactor::Exec);
        }
        if blank == 0 {
            return;
        }
        is_alone = false;
        at = end.saturating_add(blank);
    }
}

/// The way in which `+` is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plus {
    IsBlank,
    IsPlus,
}

/// Percent-decodes a text into `out`. An invalid escape is copied.
fn decode(text: &[u8], plus: Plus, out: &mut Vec<u8>) {
    out.clear();
    let digit = |byte: &u8| {
        char::from(*byte)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    let mut rest = text;
    while let [first, after @ ..] = rest {
        rest = after;
        match first {
            b'%' => {
                if let [high, low, after @ ..] = rest
                    && let (Some(high), Some(low)) = (digit(high), digit(low))
                {
                    out.push(high << 4 | low);
                    rest = after;
                } else {
                    out.push(b'%');
                }
            }
            b'+' if plus == Plus::IsBlank => out.push(b' '),
            byte => out.push(*byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(uri: &str, target: Target<'_>, redact: &str) -> String {
        let settings = Settings::parse(redact).unwrap();
        let mut spans = Spans::default();
        hide(
            uri.as_bytes(),
            &target,
            &settings,
            &mut Vec::new(),
            &mut spans,
        );
        let mut out = String::new();
        let mut at = 0;
        for span in spans.settle(uri.as_bytes(), 0) {
            out += &uri[at..span.at.start];
            out += "*";
            at = span.at.end;
        }
        out + &uri[at..]
    }

    fn exec() -> Target<'static> {
        Target {
            resource: b"pods",
            subresource: b"exec",
            ..Target::default()
        }
    }

    #[test]
    fn words_of_commands() {
        for (uri, want) in [
            (
                "/exec?command=sh&command=-c&command=cat+%2Fetc%2Fshadow+hunter2",
                "/exec?command=sh&command=-c&command=cat+%2Fetc%2Fshadow+*",
            ),
            (
                "/exec?container=c&stdin=true",
                "/exec?container=c&stdin=true",
            ),
            ("/exec?%63ommand=a%20b", "/exec?%63ommand=*%20*"),
            ("/exec?x=y&z", "/exec?x=*&*"),
            (
                "/exec?command=my-tool&command=my-tool",
                "/exec?command=my-tool&command=*",
            ),
            ("/exec?command=a;command=b", "/exec?command=*"),
        ] {
            assert_eq!(hidden(uri, exec(), "on"), want);
        }
        assert_eq!(
            hidden("/exec?command=sh&command=a", exec(), "exec=all"),
            "/exec?command=sh&command=*"
        );
        assert_eq!(
            hidden(
                "/exec?command=a&command=--token&command=b&command=API_KEY%3Dc",
                exec(),
                "exec=named"
            ),
            "/exec?command=a&command=--token&command=*&command=*"
        );
    }

    #[test]
    fn proxied_requests() {
        let proxy = || Target {
            subresource: b"proxy",
            ..Target::default()
        };
        assert_eq!(
            hidden("/p/proxy/run?cmd=x&y&a%20b=c", proxy(), "on"),
            "/p/proxy/run?cmd=*&*&*=*"
        );
        assert_eq!(hidden("/p/proxy/a/b", proxy(), "proxy=all"), "/p/proxy/*");
        assert_eq!(
            hidden("/api/v1/proxy/x?a=b", Target::default(), "on"),
            "/api/v1/proxy/x?a=*"
        );
    }

    #[test]
    fn parameters_with_secret_names() {
        for (uri, want) in [
            ("/x?token=a&limit=5", "/x?token=*&limit=5"),
            ("/x?%74oken=a", "/x?%74oken=*"),
            (
                "/x?continue=abc&fieldSelector=metadata.name%3Dx",
                "/x?continue=abc&fieldSelector=metadata.name%3Dx",
            ),
            ("/x?q=%67hp_0a0a0a0a0a0a0a0a0a0a0a0a", "/x?q=*"),
            ("/x?", "/x?"),
            ("/x", "/x"),
        ] {
            assert_eq!(hidden(uri, Target::default(), "on"), want);
        }
    }
}
