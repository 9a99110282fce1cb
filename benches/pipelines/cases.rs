//! The pipelines that are compared.

use kube_audit_testkit::fluent_bit::{Load, Pipeline};

/// What a pipeline does with the log. All inputs, filters and outputs of this plugin have the
/// policy `giantswarm` and add one `Record`, except where a name says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// Nothing: what reading the file costs.
    Floor,
    /// JSON parser, `grep` and `record_modifier`.
    Modifier,
    /// JSON parser and a Lua script with part of a policy.
    Lua,
    /// The filter.
    Filter,
    /// The output, with acknowledgements.
    Output,
    /// The same with gzip.
    OutputGzip,
    /// The input, which does all.
    Input,
    /// The input, which does all, and the output with acknowledgements.
    InputOutput,
    /// The same with gzip.
    InputOutputGzip,
    /// The Lua script and `out_forward` with acknowledgements.
    LuaForward,
    /// The same with gzip.
    LuaForwardGzip,
    /// The output without policy and `Record`.
    OutputAlone,
    /// `out_forward` with acknowledgements.
    ForwardAlone,
    /// The same with gzip.
    ForwardAloneGzip,
}

/// How the log is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Once, as fast as it goes.
    Whole,
    /// Once, with little waiting in memory.
    Limited,
    /// For ever.
    Waiting,
}

/// Watches, leases, events and probes go; bodies go, except those of changes to roles.
const LUA: &str = r#"
local dropped = { leases = true, events = true, endpoints = true, endpointslices = true }
function audit(tag, timestamp, record)
    if record["kind"] ~= "Event" or record["stage"] == nil then
        return 0, timestamp, record
    end
    if record["verb"] == "watch" or record["stage"] == "RequestReceived" then
        return -1, timestamp, record
    end
    local object = record["objectRef"]
    if object == nil then
        local uri = record["requestURI"] or ""
        if uri:find("^/healthz") or uri:find("^/livez") or uri:find("^/readyz") or uri:find("^/version") then
            return -1, timestamp, record
        end
    elseif dropped[object["resource"]] then
        return -1, timestamp, record
    end
    if object == nil or object["apiGroup"] ~= "rbac.authorization.k8s.io" then
        record["requestObject"] = nil
        record["responseObject"] = nil
        record["level"] = "Metadata"
    end
    record["cluster"] = "c-1"
    return 2, timestamp, record
end
"#;

const PARSERS: &str = "[PARSER]\n    Name json\n    Format json\n";

impl Case {
    /// Those whose use of CPU is compared; the floor comes first.
    pub const CPU: [Case; 12] = [
        Case::Floor,
        Case::Modifier,
        Case::Lua,
        Case::Filter,
        Case::Output,
        Case::OutputGzip,
        Case::Input,
        Case::InputOutput,
        Case::InputOutputGzip,
        Case::LuaForward,
        Case::LuaForwardGzip,
        Case::ForwardAlone,
    ];

    /// For tables.
    pub fn name(self) -> &'static str {
        match self {
            Case::Floor => "`tail` → `null`",
            Case::Modifier => "JSON parser, `grep`, `record_modifier` → `null`",
            Case::Lua => "JSON parser, Lua with part of a policy → `null`",
            Case::Filter => "**kube_audit filter** → `null`",
            Case::Output => "**kube_audit output**, acks",
            Case::OutputGzip => "**kube_audit output**, acks, gzip",
            Case::Input => "**kube_audit input** → `null`",
            Case::InputOutput => "**kube_audit input** → **kube_audit output**, acks to the disk",
            Case::InputOutputGzip => "the same, gzip",
            Case::LuaForward => "JSON parser, Lua → `forward`, acks",
            Case::LuaForwardGzip => "JSON parser, Lua → `forward`, acks, gzip",
            Case::OutputAlone => "kube_audit output without policy",
            Case::ForwardAlone => "`forward`, acks",
            Case::ForwardAloneGzip => "`forward`, acks, gzip",
        }
    }

    /// The pipeline that reads a log, with a receiver at a port of this machine.
    pub fn pipeline(self, log: &str, reading: Reading, port: u16) -> Pipeline {
        let port = port.to_string();
        let receiver = [("host", "127.0.0.1"), ("port", &port)];
        let acks = [receiver[0], receiver[1], ("require_ack_response", "true")];
        let gzip = [acks[0], acks[1], acks[2], ("compress", "gzip")];
        let policy = [("policy_preset", "giantswarm"), ("record", "cluster c-1")];
        let with_policy = |options: &[(&'static str, &str)], pipeline: Pipeline| {
            pipeline.output("kube_audit", &[&policy[..], options].concat())
        };
        let tail = |more: &[(&str, &str)]| self.tail(log, reading, more);
        let lua = || {
            tail(&[("parser", "json")])
                .file("audit.lua", LUA)
                .host_filter("lua", &[("script", "{dir}/audit.lua"), ("call", "audit")])
        };
        match self {
            Case::Floor => tail(&[]).output("null", &[]),
            Case::Modifier => tail(&[("parser", "json")])
                .host_filter("grep", &[("exclude", "verb ^watch$")])
                .host_filter("record_modifier", &[("record", "cluster c-1")])
                .output("null", &[]),
            Case::Lua => lua().output("null", &[]),
            Case::Filter => tail(&[]).filter(&policy).output("null", &[]),
            Case::Output => with_policy(&receiver, tail(&[])),
            Case::OutputGzip => with_policy(&gzip, tail(&[])),
            Case::Input => self.input(log, &policy).output("null", &[]),
            Case::InputOutput => self.input(log, &policy).output("kube_audit", &receiver),
            Case::InputOutputGzip => self.input(log, &policy).output("kube_audit", &gzip),
            Case::LuaForward => lua().output("forward", &acks),
            Case::LuaForwardGzip => lua().output("forward", &gzip),
            Case::OutputAlone => tail(&[]).output("kube_audit", &receiver),
            Case::ForwardAlone => tail(&[]).output("forward", &acks),
            Case::ForwardAloneGzip => tail(&[]).output("forward", &gzip),
        }
    }

    /// True if the input reads the log, which never ends by itself.
    pub fn has_input(self) -> bool {
        matches!(
            self,
            Case::Input | Case::InputOutput | Case::InputOutputGzip
        )
    }

    fn input(self, log: &str, policy: &[(&str, &str)]) -> Pipeline {
        let own = [("path", log), ("db", "{dir}/position")];
        Pipeline::new()
            .load(Load::PluginsFile)
            .service("grace", "30")
            .service("log_level", "error")
            .input("kube_audit", &[&own[..], policy].concat())
    }

    fn tail(self, log: &str, reading: Reading, more: &[(&str, &str)]) -> Pipeline {
        let ours = matches!(
            self,
            Case::Filter | Case::Output | Case::OutputGzip | Case::OutputAlone
        );
        let mut options = vec![("path", log), ("read_from_head", "on")];
        let large_lines = [("buffer_chunk_size", "256k"), ("buffer_max_size", "16M")];
        match reading {
            Reading::Whole => options.push(("exit_on_eof", "on")),
            Reading::Limited => {
                options.extend(large_lines);
                options.extend([("exit_on_eof", "on"), ("mem_buf_limit", "5M")]);
            }
            Reading::Waiting => options.extend(large_lines),
        }
        options.extend(more);
        Pipeline::new()
            // The plugin is only loaded where it is used.
            .load(if ours {
                Load::PluginsFile
            } else {
                Load::Nothing
            })
            .service("grace", "30")
            .service("log_level", "error")
            .service("parsers_file", "{dir}/parsers.conf")
            .file("parsers.conf", PARSERS)
            .input("tail", &options)
    }
}
