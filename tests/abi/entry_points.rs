//! Filter and output from the side of the host, played by `crates/testkit/c/host.c`.

use std::fs;
use std::path::Path;

use kube_audit_testkit::c_host::{CHost, Ran};
use kube_audit_testkit::library::{Installed, SecondName};

/// One version per layout of anything that the plugin looks at, and those that KKP ships.
const VERSIONS: [&str; 22] = [
    "1.9.3", "1.9.5", "1.9.10", "2.0.6", "2.0.9", "2.1.0", "2.1.4", "2.1.8", "2.2.1", "2.2.3",
    "3.0.7", "3.1.0", "3.2.0", "3.2.2", "4.0.0", "4.0.4", "4.0.6", "4.2.8", "5.0.0", "5.0.3",
    "5.1.0", "5.1.1",
];

/// No callback uses more stack, log lines included: 24 KiB is all there is on
/// hosts before 5.1.0, and the host needs a part of it.
const MOST_STACK: usize = 16 * 1024;

/// A policy that drops every event.
const NO_EVENTS: &str =
    r#"{"apiVersion":"audit.k8s.io/v1","kind":"Policy","rules":[{"level":"None"}]}"#;

pub fn drive(host: &CHost, commands: &str) -> Ran {
    let installed = Installed::new(SecondName::Symlink);
    drive_installed(host, &installed, commands)
}

/// Every output gets a receiver, which is not there: nobody listens on port 1. So
/// flushes end when their time is over.
pub fn drive_installed(host: &CHost, installed: &Installed, commands: &str) -> Ran {
    let receiver = "prop Endpoint 127.0.0.1:1 prop Flush_Wait 50ms";
    let commands = &commands.replace(" output ", &format!(" {receiver} output "));
    let (output, filter, input) = (installed.output(), installed.filter(), installed.input());
    let events = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/events.jsonl");
    host.run(
        commands,
        &[
            ("output", &output),
            ("filter", &filter),
            ("input", &input),
            ("events", &events),
            ("none", Path::new(NO_EVENTS)),
        ],
    )
}

#[track_caller]
pub fn assert_has(text: &str, part: &str) {
    assert!(text.contains(part), "no {part:?} in:\n{text}");
}

/// The results without what depends on the compiler; the stack is checked.
#[track_caller]
pub fn results(ran: &Ran) -> Vec<&str> {
    assert_eq!(ran.status, Some(0), "{}\n{}", ran.stdout, ran.log);
    let (stacks, results): (Vec<&str>, Vec<&str>) = ran
        .stdout
        .lines()
        .partition(|line| line.starts_with("stack: "));
    for stack in stacks {
        let used = stack.split(' ').nth(1).and_then(|used| used.parse().ok());
        assert!(
            used.is_some_and(|used: usize| used <= MOST_STACK),
            "{stack}"
        );
    }
    results
}

/// The results are these, each up to where the expected one ends.
#[track_caller]
pub fn assert_results(ran: &Ran, expected: &[&str]) {
    let results = results(ran);
    let alike = |(result, expected): (&&str, &&str)| result.starts_with(expected);
    let same = results.len() == expected.len() && results.iter().zip(expected).all(alike);
    assert!(same, "{results:#?} instead of {expected:#?}");
}

#[test]
fn every_version_is_served() {
    for version in VERSIONS {
        let ran = drive(
            &CHost::of(version),
            "load {output} load {filter} threads \
             output o prop Policy_Preset metadata filter f filter g \
             lines {events} run f run g run o stop g stop f stop o",
        );
        assert_results(
            &ran,
            &[
                "load: output kube_audit, type 2, proxy 11, flags 4",
                "load: filter kube_audit",
                "threads: 1",
                "output o: init 1, ",
                "filter f: pre_run 0, init 0",
                "filter g: pre_run 0, init 0",
                "run f: modified, ",
                "run g: notouch",
                "run o: retry",
                "stop g: 0",
                "stop f: 0",
                "stop o: 1",
            ],
        );
        assert_has(&ran.log, "[filter:kube_audit:f] ");
        assert_has(&ran.log, "[output:kube_audit:o] ");
    }
}

#[test]
fn hostile_nesting_fits_the_stack() {
    const DEPTH: usize = 100_000;
    let event = |body: &str| {
        format!(r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","responseObject":{body}}}"#)
    };
    let arrays = "[".repeat(DEPTH) + &"]".repeat(DEPTH);
    let maps = r#"{"a":"#.repeat(DEPTH) + "1" + &"}".repeat(DEPTH);
    let lines = [event(&arrays), event(&maps), "[".repeat(DEPTH)].join("\n");
    // [[time, {}], map] in MessagePack, where the map has one key and that one value.
    let record =
        |open: &[u8]| [b"\x92\x92\xd7\0\0\0\0\x01\0\0\0\x01\x80".as_slice(), open].concat();
    let arrays = [record(b"\x81\xa1a"), b"\x91".repeat(DEPTH), vec![0xc0]].concat();
    let maps = [record(b""), b"\x81\xa1a".repeat(DEPTH), vec![0xc0]].concat();

    let directory = tempfile::tempdir().expect("temporary directory");
    let (json, msgpack) = (
        directory.path().join("json"),
        directory.path().join("msgpack"),
    );
    fs::write(&json, lines).expect("lines");
    fs::write(&msgpack, [arrays, maps].concat()).expect("chunk");
    let installed = Installed::new(SecondName::Symlink);
    let ran = CHost::of("4.0.0").run(
        "load {output} load {filter} \
         prop Policy_Preset recommended prop Output_Shape map filter f \
         prop Policy_Preset metadata prop Endpoint 127.0.0.1:1 prop Flush_Wait 50ms output o \
         lines {json} run o run f run f chunk {msgpack} run o run f run f stop f stop o",
        &[
            ("output", &installed.output()),
            ("filter", &installed.filter()),
            ("json", &json),
            ("msgpack", &msgpack),
        ],
    );
    assert_eq!(results(&ran).len(), 12, "{}", ran.stdout);
}

#[test]
fn results_are_blocks_of_the_host_s_malloc() {
    for host in [CHost::of("4.0.0"), CHost::of("4.0.0").malloc8()] {
        let ran = drive(
            &host,
            "load {filter} \
             prop Policy_Preset metadata prop Non_Audit drop filter metadata \
             prop Policy {none} filter none \
             lines {events} run metadata print run none print stop none stop metadata",
        );
        assert_results(
            &ran,
            &[
                "load: filter kube_audit",
                "filter metadata: pre_run 0, init 0",
                "filter none: pre_run 0, init 0",
                "run metadata: modified, ",
                r#"[[1700000000.123456789,{}],{"log":"{\"kind\":\"Event\","#,
                r#"[[1700000000.123456789,{}],{"log":"{\"kind\":\"Event\","#,
                "run none: modified, 0 bytes ",
                "stop none: 0",
                "stop metadata: 0",
            ],
        );
        assert!(!ran.stdout.contains("ConfigMap"), "{}", ran.stdout);
    }
}

#[test]
fn one_file_under_three_names_or_three_files() {
    for second_name in [SecondName::Symlink, SecondName::HardLink, SecondName::Copy] {
        for commands in [
            "load {output} load {filter} load {input} filter f output o input i stop i stop f stop o",
            "load {input} load {filter} load {output} input i filter f output o stop o stop f stop i",
        ] {
            let installed = Installed::new(second_name);
            let ran = drive_installed(&CHost::of("4.0.0"), &installed, commands);
            assert_has(&ran.stdout, "filter f: pre_run 0, init 0");
            assert_has(&ran.stdout, "input i: init 0");
            assert_has(&ran.stdout, "output o: init 1");
            assert_eq!(results(&ran).len(), 9, "{second_name:?}");
        }
    }
}

#[test]
fn unknown_hosts_are_refused_by_both_plugins() {
    let versions = [
        ("1.9.2", "1.9.2"),
        ("1.9.5", "0.0.9"),
        ("5.1.1", "5.2.0"),
        ("5.1.1", "6.0.0"),
        ("5.1.1", "5.1.x"),
    ];
    for (layouts, says) in versions {
        let ran = drive(
            &CHost::of(layouts).says(says),
            "load {output} load {filter} filter f",
        );
        let start = if layouts < "2.2.0" {
            "filter f: pre_run 0, init -1"
        } else {
            "filter f: pre_run -1, init -1"
        };
        assert_eq!(
            results(&ran),
            ["load: refused", "load: filter kube_audit", start],
            "{says}"
        );
        let why = format!("Fluent Bit {says} is not supported: use 1.9.3 to 5.1.x\n");
        assert_has(&ran.log, &format!("[error] [output:kube_audit] {why}"));
        assert_has(&ran.log, &format!("[error] [filter:kube_audit] {why}"));
    }
}

#[test]
fn hosts_that_contradict_themselves_are_refused() {
    for (layouts, says, why) in [
        (
            "2.2.3",
            "4.0.0",
            "reports version 4.0.0 but its `filter_stdout_plugin` has 80 bytes instead of 88",
        ),
        (
            "3.2.0",
            "4.0.0",
            "reports version 4.0.0 but lacks `flb_tls_set_minmax_proto`, which came with 4.0.0",
        ),
        (
            "4.0.0",
            "3.2.10",
            "reports version 3.2.10 but has `flb_tls_set_minmax_proto`, which came with 4.0.0",
        ),
    ] {
        let ran = drive(
            &CHost::of(layouts).says(says),
            "load {output} load {filter} filter f",
        );
        assert_eq!(results(&ran)[0], "load: refused", "{says}");
        assert_has(&ran.stdout, "filter f: pre_run -1, init -1");
        assert_has(&ran.log, why);
    }
}

#[test]
fn instances_with_other_layouts_are_refused() {
    for version in ["1.9.5", "2.2.3", "4.0.0", "5.1.1"] {
        let ran = drive(
            &CHost::of(version).moves_properties(8),
            "load {output} load {filter} prop a b output o prop a b filter f",
        );
        assert_has(&ran.stdout, "output o: init -1");
        assert_has(&ran.stdout, "init -1");
        let why = format!("reports version {version} but keeps the properties of an instance");
        assert_eq!(ran.log.matches(&why).count(), 2, "{}", ran.log);
    }
}

/// The value of a series that the C host printed.
fn value<'a>(printed: &'a str, series: &str) -> Option<&'a str> {
    printed
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(" = "))
}

#[test]
fn metrics_are_made_at_the_start_and_set_by_each_call() {
    for version in VERSIONS {
        let ran = drive(
            &CHost::of(version),
            "load {output} load {filter} output o prop Policy {none} filter f \
             lines {events} run f lines {events} run o metrics run f stop f stop o",
        );
        let results = results(&ran);
        let printed = results.join("\n");
        let since = version.split('.').next() != Some("1");
        assert_eq!(
            printed.contains("kube_audit_records_total"),
            since,
            "{version}"
        );
        if !since {
            continue;
        }
        for (series, expected) in [
            (
                r#"counter fluentbit_filter_kube_audit_records_total{name="f"}"#,
                "3",
            ),
            (
                r#"counter fluentbit_filter_kube_audit_events_total{name="f",outcome="kept"}"#,
                "0",
            ),
            (
                r#"counter fluentbit_filter_kube_audit_events_total{name="f",outcome="dropped"}"#,
                "2",
            ),
            (
                r#"counter fluentbit_filter_kube_audit_records_non_audit_total{name="f"}"#,
                "1",
            ),
            (
                r#"gauge fluentbit_filter_kube_audit_line_pieces_withheld{name="f"}"#,
                "0",
            ),
            (
                r#"counter fluentbit_output_kube_audit_frames_sent_total{name="o"}"#,
                "0",
            ),
        ] {
            assert_eq!(
                value(&printed, series),
                Some(expected),
                "{version} {series}:\n{printed}"
            );
        }
        assert!(!ran.log.contains("metrics"), "{}", ran.log);
    }
}

#[test]
fn metrics_in_an_unknown_place_are_left_alone() {
    for version in ["2.0.6", "2.2.3", "4.0.0", "5.1.1"] {
        let ran = drive(
            &CHost::of(version).moves_metrics(8),
            "load {output} load {filter} filter f output o lines {events} run f metrics stop f \
             stop o",
        );
        let printed = results(&ran).join("\n");
        assert!(!printed.contains("fluentbit_filter"), "{printed}");
        assert_has(&printed, "fluentbit_output");
        let why = "[filter:kube_audit:f] metrics are unavailable";
        assert_eq!(ran.log.matches(why).count(), 1, "{}", ran.log);
    }
}

#[test]
fn instances_of_the_same_name_are_told_apart() {
    let ran = drive(
        &CHost::of("5.1.1"),
        "load {filter} prop Policy {none} filter - prop Policy {none} filter - filter f \
         lines {events} run - metrics stop - stop - filter - metrics",
    );
    let results = results(&ran);
    // The host's own name is the same for both; the one that was started last gets the chunk.
    let printed = results.join("\n");
    let series = |name: &str| {
        format!(r#"counter fluentbit_filter_kube_audit_records_total{{name="{name}"}}"#)
    };
    assert_eq!(value(&printed, &series("kube_audit.0")), Some("0"));
    assert_eq!(value(&printed, &series("kube_audit.0#2")), Some("3"));
    assert_eq!(value(&printed, &series("f")), Some("0"));
    assert_has(&ran.log, "[filter:kube_audit:kube_audit.0#2] records: 3");

    // A name is free again when its instance has ended.
    let last: Vec<&str> = results
        .into_iter()
        .skip_while(|line| *line != "stop -: 0")
        .collect();
    let last = last.join("\n");
    assert!(
        !last.contains("#2") && last.contains("kube_audit.0"),
        "{last}"
    );
}

#[test]
fn null_and_unknown_pointers_are_harmless() {
    let ran = drive(
        &CHost::of("4.0.0"),
        "load {output} load {filter} filter f output o nulls stop f stop o nulls",
    );
    let nulls = [
        "pre_run: -1",
        "init: -1",
        "filter: 2 2 2",
        "exit: 0 0",
        "Init: -1 -1",
        "FlushCtx: 2 2 2",
        "ExitCtx: 1 1",
    ];
    let results = results(&ran);
    assert_eq!(results[4], "live output: 2");
    // It was no coroutine, so it could not have waited.
    assert_has(&ran.log, "flushes outside of its engine's coroutines");
    assert_eq!(results[5], "live filter: 2 2");
    assert_eq!(results[6..13], nulls);
    assert_eq!(results[15..], nulls);
}

#[test]
fn a_malloc_that_aligns_to_8_is_enough() {
    for version in ["1.9.5", "4.0.0", "5.1.1"] {
        let ran = drive(
            &CHost::of(version).malloc8(),
            "malloc load {output} load {filter} output o prop Policy_Preset recommended filter f \
             lines {events} run f run f run o stop f stop o",
        );
        let results = results(&ran);
        assert_eq!(results[0], "malloc: aligns to 8");
        assert_eq!(results.last(), Some(&"stop o: 1"));
    }
}

#[test]
fn retry_limit_is_lifted_where_nobody_chose_it() {
    for (version, chosen, limit, log) in [
        ("5.1.1", "", -1, "`Retry_Limit` is not set: using no_limits"),
        (
            "5.1.1",
            "prop Retry_Limit 1",
            1,
            "`Retry_Limit` is 1: a chunk is lost",
        ),
        ("5.0.0", "", -1, "`Retry_Limit` is not set or 1"),
        (
            "5.0.0",
            "prop Retry_Limit 1",
            -1,
            "`Retry_Limit` is not set or 1",
        ),
        ("1.9.5", "", -1, "`Retry_Limit` is not set or 1"),
        (
            "1.9.5",
            "prop Retry_Limit 7",
            7,
            "`Retry_Limit` is 7: a chunk is lost",
        ),
        (
            "4.0.0",
            "prop Retry_Limit no_retries",
            0,
            "`Retry_Limit` is 0: a chunk is lost",
        ),
        ("4.0.0", "prop Retry_Limit no_limits", -1, ""),
    ] {
        let ran = drive(
            &CHost::of(version),
            &format!("load {{output}} {chosen} output o stop o"),
        );
        let started = format!("output o: init 1, retry_limit {limit}, ");
        assert!(results(&ran)[1].starts_with(&started), "{}", ran.stdout);
        assert_has(&ran.log, log);
        assert_eq!(
            ran.log.contains("Retry_Limit"),
            !log.is_empty(),
            "{}",
            ran.log
        );
    }
}

#[test]
fn there_are_no_workers() {
    // Where the number was is known from 2.2.0 on only.
    for (version, said) in [
        ("1.9.5", false),
        ("2.1.8", false),
        ("2.2.3", true),
        ("4.0.0", true),
        ("5.1.1", true),
    ] {
        let ran = drive(
            &CHost::of(version),
            "load {output} prop workers 3 output o stop o",
        );
        assert_has(results(&ran)[1], "workers 0");
        assert_eq!(
            ran.log.contains("`Workers` has no effect"),
            said,
            "{}",
            ran.log
        );
    }
}

#[test]
fn wrong_settings_stop_the_start() {
    let ran = drive(
        &CHost::of("4.0.0"),
        "load {output} prop port 70000 output o",
    );
    assert_has(&ran.stdout, "output o: init -1");
    assert_has(
        &ran.log,
        "option `Port` is 70000: use a number from 1 to 65535",
    );

    // That version goes on after a failure with memory that it has freed.
    let ran = drive(
        &CHost::of("2.2.0"),
        "load {output} prop port 70000 output o",
    );
    assert_eq!(ran.status, Some(255), "{}", ran.stdout);
    assert_has(
        &ran.log,
        "option `Port` is 70000: use a number from 1 to 65535",
    );
}

#[test]
fn patterns_are_compiled_and_matched_by_the_host() {
    for version in VERSIONS {
        let ran = drive(
            &CHost::of(version),
            "load {output} load {filter} prop Regex alice filter f prop Exclude audit filter g \
             prop Regex settings output o lines {events} run f print run g run o stop f stop g stop o",
        );
        let results = results(&ran);
        let lines: Vec<&&str> = results.iter().filter(|line| line.contains("log")).collect();
        assert!(
            lines.len() == 1 && lines[0].contains("alice"),
            "{version}: {results:#?}"
        );
        for part in [
            "events kept: 1, events excluded by a pattern: 1",
            "other records excluded by a pattern: 1",
        ] {
            assert_has(&ran.log, part);
        }
    }
}

#[test]
fn wrong_patterns_stop_the_start() {
    for (version, without, option, expected) in [
        (
            "1.9.5",
            false,
            "Regex",
            "`Regex` is `(`: Fluent Bit cannot compile the pattern",
        ),
        (
            "4.0.0",
            false,
            "Exclude",
            "`Exclude` is `(`: Fluent Bit cannot compile the pattern",
        ),
        (
            "4.0.0",
            true,
            "Regex",
            "`Regex` is not supported: this Fluent Bit was built without regular expressions",
        ),
    ] {
        let host = CHost::of(version);
        let host = if without { host.without_regex() } else { host };
        let ran = drive(
            &host,
            &format!(
                "load {{output}} load {{filter}} prop {option} ( filter f prop {option} ( output o"
            ),
        );
        assert_has(&ran.log, &format!("[filter:kube_audit:f] {expected}"));
        assert_has(&ran.log, &format!("[output:kube_audit:o] {expected}"));
        assert_has(&ran.stdout, "output o: init -1");
    }
}

#[test]
fn a_second_output_is_refused_where_it_crashes_the_host() {
    for (version, second) in [("1.9.5", -1), ("2.0.6", -1), ("2.0.9", 1), ("4.0.0", 1)] {
        let ran = drive(
            &CHost::of(version),
            "load {output} output one output two stop one output three stop three",
        );
        assert_has(&ran.stdout, &format!("output two: init {second},"));
        assert_has(&ran.stdout, "output three: init 1,");
        let said = ran.log.contains("with two outputs of one external plugin");
        assert_eq!(said, second < 0, "{}", ran.log);
    }
}

#[test]
fn the_instance_s_log_level_counts() {
    let ran = drive(
        &CHost::of("4.0.0"),
        "load {output} load {filter} prop log_level error filter f prop log_level error output o \
         stop f stop o",
    );
    assert_eq!(results(&ran).len(), 6);
    assert_eq!(ran.log, "");
}

#[test]
fn a_check_starts_nothing() {
    let ran = drive(&CHost::of("4.0.0"), "load {filter} check f threads");
    assert_eq!(results(&ran)[1..], ["check f: 0", "threads: 1"]);
    assert_eq!(ran.log, "");
}
