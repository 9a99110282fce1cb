//! The files of `fluent-bit-conf/` itself, run as shipped; those in its folders have
//! tests of their own.

use kube_audit_testkit::image::Image;
use kube_audit_testkit::{fluent_bit, image, port};
use serde_json::Value;

/// The port that the files name.
const PORT: u16 = 24224;

/// The events in records, as text under `log` or as the record itself.
fn events(records: &[Value]) -> Vec<Value> {
    let event = |record: &Value| match record.get("log").and_then(Value::as_str) {
        Some(text) => serde_json::from_str(text).ok(),
        None => Some(record.clone()),
    };
    records
        .iter()
        .filter_map(event)
        .filter(|event| event.get("auditID").is_some())
        .collect()
}

fn has_secret(events: &[Value]) -> bool {
    events.iter().any(|event| {
        event["objectRef"]["resource"] == "secrets" && event.get("responseObject").is_some()
    })
}

#[test]
fn each_configuration_works_as_shipped() {
    if !image::is_possible() {
        return;
    }
    fluent_bit::in_each(fluent_bit::OLDEST, |host| {
        let _turn = port::wait_for_turn(PORT);
        let image = Image::new(host);
        let start = |config: &str| {
            let environment = [("CLUSTER_ID", "c-1"), ("AGGREGATOR", "127.0.0.1:24224")];
            image.start(&format!("/fluent-bit/etc/{config}"), &environment)
        };
        let aggregator = start("aggregator.conf");
        aggregator.wait_for("listener", |aggregator| {
            aggregator.log().contains("listening on")
        });

        // Policy `recommended`: three RequestReceived of fourteen lines go.
        let forward = start("forward.conf");
        aggregator.wait_for("records", |aggregator| aggregator.records().len() >= 11);
        forward.stop();
        let records = aggregator.records();
        assert_eq!(records.len(), 11, "{}", host.name());
        assert!(records.iter().all(|record| record["cluster"] == "c-1"));
        assert_eq!(events(&records).len(), 10);
        assert!(!has_secret(&events(&records)));

        if host.version >= (3, 2, 0) {
            let processor = start("processor.yaml");
            aggregator.wait_for("more records", |aggregator| {
                aggregator.records().len() >= 22
            });
            processor.stop();
            let records = aggregator.records();
            assert_eq!(
                events(&records[..11]),
                events(&records[11..]),
                "{}",
                host.name()
            );
            assert!(records.iter().all(|record| record["cluster"] == "c-1"));
        }
        aggregator.stop();

        // The input: the same events, and its position is kept once they are acknowledged.
        let aggregator = start("aggregator.conf");
        aggregator.wait_for("listener", |aggregator| {
            aggregator.log().contains("listening on")
        });
        let input = start("input.conf");
        aggregator.wait_for("records", |aggregator| aggregator.records().len() >= 11);
        let position = image.path("var/lib/fluent-bit/audit.db");
        input.wait_for("a position", |_| position.exists());
        input.stop();
        let again = start("input.conf");
        again.wait_for("the kept position", |again| {
            again.log().contains("reading audit.log from byte")
        });
        again.stop();
        let records = aggregator.records();
        assert_eq!(records.len(), 11, "{}", host.name());
        assert!(records.iter().all(|record| record["cluster"] == "c-1"));
        assert!(!has_secret(&events(&records)));
        aggregator.stop();

        // Policy file: leases, probes, watches of controllers and RequestReceived go.
        let filter = start("filter.conf");
        filter.wait_for("records", |filter| filter.records().len() >= 6);
        let records = filter.records();
        filter.stop();
        assert_eq!(records.len(), 6, "{}: {records:#?}", host.name());
        assert!(records.iter().all(|record| record["cluster"] == "c-1"));
        let events = events(&records);
        assert!(!has_secret(&events));
        let body = |event: &Value| {
            event.get("requestObject").is_some() && event.get("responseObject").is_none()
        };
        assert_eq!(events.iter().filter(|event| body(event)).count(), 2);
        assert!(!filter_text(&records).contains("managedFields"));
    });
}

fn filter_text(records: &[Value]) -> String {
    records.iter().map(Value::to_string).collect()
}
