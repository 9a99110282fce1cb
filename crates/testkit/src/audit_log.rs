//! A made-up audit log: the requests of a small busy cluster, the same in every run.
//!
//! Kinds, sizes and their shares are those of a kube-apiserver whose policy logs
//! bodies of about half of the requests: a kilobyte and a half for an event on
//! average, less than one without bodies, and up to ten for a Node or Deployment.
//! Keys have the API server's order: attributes first, then the bodies.

/// Events one after the other, without end.
pub struct Events {
    numbers: u64,
    count: u64,
}

impl Default for Events {
    fn default() -> Events {
        Events::new()
    }
}

impl Events {
    /// Starts with the first event.
    pub fn new() -> Events {
        Events {
            numbers: 0x9e37_79b9_7f4a_7c15,
            count: 0,
        }
    }

    /// A number without pattern.
    fn number(&mut self) -> u64 {
        self.numbers ^= self.numbers << 13;
        self.numbers ^= self.numbers >> 7;
        self.numbers ^= self.numbers << 17;
        self.numbers
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.number() >> 16) % limit
    }

    fn one_of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len() as u64) as usize]
    }

    fn uid(&mut self) -> String {
        let (a, b) = (self.number(), self.number());
        format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            a >> 32,
            a >> 16 & 0xffff,
            a & 0xfff,
            b >> 48 & 0xfff,
            b & 0xffff_ffff_ffff
        )
    }

    fn time(&self, later: u64) -> String {
        let micros = self.count * 3137 + later;
        let seconds = micros / 1_000_000;
        format!(
            "2026-11-20T{:02}:{:02}:{:02}.{:06}Z",
            8 + seconds / 3600 % 12,
            seconds / 60 % 60,
            seconds % 60,
            micros % 1_000_000
        )
    }

    fn node(&mut self) -> String {
        let number = self.below(30);
        format!(
            "ip-10-0-{}-{number}.eu-central-1.compute.internal",
            number % 8
        )
    }
}

/// An event with a body of so many bytes, such as a large ConfigMap.
pub fn large_event(bytes: usize) -> String {
    format!(
        r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","auditID":"11111111-2222-4333-8444-555555555555","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/shop/configmaps/large","verb":"update","user":{{"username":"alice@example.com","groups":["system:authenticated"]}},"sourceIPs":["10.0.0.1"],"objectRef":{{"resource":"configmaps","namespace":"shop","name":"large","apiVersion":"v1"}},"responseStatus":{{"metadata":{{}},"code":200}},"requestObject":{{"data":{{"text":"{}"}}}},"requestReceivedTimestamp":"2026-11-20T08:00:00.000000Z","stageTimestamp":"2026-11-20T08:00:00.000000Z"}}"#,
        "some text ".repeat(bytes / 10)
    )
}

/// What one event is made of.
struct Request {
    verb: &'static str,
    uri: String,
    user: String,
    groups: &'static str,
    agent: &'static str,
    stage: &'static str,
    code: u32,
    /// The members of `objectRef`.
    object: Option<String>,
    /// Whether the request, and whether the response, may be logged with it.
    bodies: Option<(Option<String>, Option<String>)>,
}

const NAMESPACES: [&str; 8] = [
    "default",
    "kube-system",
    "monitoring",
    "shop",
    "payments",
    "ingress-nginx",
    "ci",
    "team-blue",
];
const PEOPLE: [&str; 4] = [
    "alice@example.com",
    "bob@example.com",
    "carol@example.com",
    "kubernetes-admin",
];
const NODES: &str = r#""system:nodes","system:authenticated""#;
const ACCOUNTS: &str =
    r#""system:serviceaccounts","system:serviceaccounts:kube-system","system:authenticated""#;
const ANYBODY: &str = r#""system:authenticated""#;
const KUBELET: &str = "kubelet/v1.33.4 (linux/amd64) kubernetes/1f8a2b1";
const KUBECTL: &str = "kubectl/v1.33.4 (linux/amd64) kubernetes/1f8a2b1";
const DONE: &str = "ResponseComplete";

impl Iterator for Events {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        self.count += 1;
        let with_bodies = self.below(100) < 45;
        let namespace = self.one_of(&NAMESPACES);
        let request = match self.below(100) {
            0..22 => self.lease(),
            22..34 => self.watch(),
            34..44 => self.probe(),
            44..54 => self.event(namespace),
            54..64 => self.node_status(),
            64..72 => self.secret(namespace),
            72..90 => self.workload(namespace),
            90..94 => self.pod_access(namespace),
            94..97 => self.token_review(),
            _ => self.role_binding(),
        };
        Some(self.write(request, with_bodies))
    }
}

impl Events {
    fn write(&mut self, request: Request, with_bodies: bool) -> String {
        let Request {
            verb,
            uri,
            user,
            groups,
            agent,
            stage,
            code,
            object,
            bodies,
        } = request;
        let received = self.time(0);
        let delay = self.below(90_000);
        let staged = self.time(delay);
        let bodies = bodies.filter(|_| with_bodies);
        let level = if bodies.is_some() {
            "RequestResponse"
        } else {
            "Metadata"
        };
        let (audit_id, uid) = (self.uid(), self.uid());
        let address = format!("10.0.{}.{}", self.below(8), self.below(250));
        let mut line = format!(
            r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"{level}","auditID":"{audit_id}","stage":"{stage}","requestURI":"{uri}","verb":"{verb}","user":{{"username":"{user}","uid":"{uid}","groups":[{groups}]}},"sourceIPs":["{address}"],"userAgent":"{agent}""#
        );
        if let Some(object) = object {
            line += &format!(r#","objectRef":{{{object}}}"#);
        }
        let answered = stage != "RequestReceived";
        if answered && code < 400 {
            line += &format!(r#","responseStatus":{{"metadata":{{}},"code":{code}}}"#);
        } else if answered {
            line += &format!(
                r#","responseStatus":{{"metadata":{{}},"status":"Failure","message":"forbidden: User \"{user}\" cannot {verb} resource","reason":"Forbidden","code":{code}}}"#
            );
        }
        let (request, response) = bodies.unwrap_or_default();
        for (key, body) in [("requestObject", request), ("responseObject", response)] {
            if let Some(body) = body {
                line += &format!(r#","{key}":{body}"#);
            }
        }
        line += &format!(r#","requestReceivedTimestamp":"{received}","stageTimestamp":"{staged}""#);
        if answered && code < 400 {
            line += r#","annotations":{"authorization.k8s.io/decision":"allow","authorization.k8s.io/reason":"RBAC: allowed by ClusterRoleBinding \"system:basic-user\" of ClusterRole \"system:basic-user\" to Group \"system:authenticated\""}"#;
        } else if answered {
            line += r#","annotations":{"authorization.k8s.io/decision":"forbid","authorization.k8s.io/reason":""}"#;
        }
        line + "}"
    }

    fn lease(&mut self) -> Request {
        let (node, time) = (self.node(), self.time(0));
        let managed = self.managed_fields("kubelet");
        let body = format!(
            r#"{{"kind":"Lease","apiVersion":"coordination.k8s.io/v1","metadata":{{"name":"{node}","namespace":"kube-node-lease","managedFields":[{managed}]}},"spec":{{"holderIdentity":"{node}","leaseDurationSeconds":40,"renewTime":"{time}"}}}}"#
        );
        Request {
            verb: "update",
            uri: format!(
                "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{node}?timeout=10s"
            ),
            user: format!("system:node:{node}"),
            groups: NODES,
            agent: KUBELET,
            stage: DONE,
            code: 200,
            object: Some(format!(
                r#""resource":"leases","namespace":"kube-node-lease","name":"{node}","apiGroup":"coordination.k8s.io","apiVersion":"v1","resourceVersion":"{}""#,
                self.count
            )),
            bodies: Some((Some(body.clone()), Some(body))),
        }
    }

    fn watch(&mut self) -> Request {
        let resource = self.one_of(&[
            "pods",
            "services",
            "endpoints",
            "configmaps",
            "nodes",
            "secrets",
        ]);
        let user = self.one_of(&[
            "system:kube-proxy",
            "system:kube-controller-manager",
            "system:kube-scheduler",
            "system:serviceaccount:kube-system:coredns",
        ]);
        Request {
            verb: "watch",
            uri: format!(
                "/api/v1/{resource}?allowWatchBookmarks=true\\u0026resourceVersion={}\\u0026timeout=8m{}s\\u0026watch=true",
                self.count,
                self.count % 60
            ),
            user: user.into(),
            groups: ACCOUNTS,
            agent: "kube-controller-manager/v1.33.4 (linux/amd64) kubernetes/1f8a2b1/shared-informers",
            stage: self.one_of(&["ResponseStarted", DONE, "RequestReceived"]),
            code: 200,
            object: Some(format!(r#""resource":"{resource}","apiVersion":"v1""#)),
            bodies: None,
        }
    }

    fn probe(&mut self) -> Request {
        let uri = self.one_of(&[
            "/healthz",
            "/livez?exclude=etcd",
            "/readyz",
            "/version",
            "/openapi/v2?timeout=32s",
            "/metrics",
            "/apis",
        ]);
        let (user, groups) = match self.below(3) {
            0 => ("system:anonymous", r#""system:unauthenticated""#),
            1 => (
                "system:apiserver",
                r#""system:masters","system:authenticated""#,
            ),
            _ => ("kubelet", ANYBODY),
        };
        Request {
            verb: "get",
            uri: uri.into(),
            user: user.into(),
            groups,
            agent: "kube-probe/1.33",
            stage: DONE,
            code: 200,
            object: None,
            bodies: None,
        }
    }

    fn event(&mut self, namespace: &str) -> Request {
        let name = format!(
            "web-{:05x}.{:010x}",
            self.below(1 << 20),
            self.below(1 << 40)
        );
        let node = self.node();
        let body = format!(
            r#"{{"kind":"Event","apiVersion":"v1","metadata":{{"name":"{name}","namespace":"{namespace}"}},"involvedObject":{{"kind":"Pod","namespace":"{namespace}","name":"{name}"}},"reason":"Pulled","message":"Container image already present on machine","type":"Normal","count":1}}"#
        );
        Request {
            verb: "create",
            uri: format!("/api/v1/namespaces/{namespace}/events"),
            user: format!("system:node:{node}"),
            groups: NODES,
            agent: KUBELET,
            stage: DONE,
            code: 201,
            object: Some(format!(
                r#""resource":"events","namespace":"{namespace}","name":"{name}","apiVersion":"v1""#
            )),
            bodies: Some((Some(body.clone()), Some(body))),
        }
    }

    fn node_status(&mut self) -> Request {
        let node = self.node();
        let body = self.object("Node", "v1", "", &node);
        Request {
            verb: "patch",
            uri: format!("/api/v1/nodes/{node}/status?timeout=10s"),
            user: format!("system:node:{node}"),
            groups: NODES,
            agent: KUBELET,
            stage: DONE,
            code: 200,
            object: Some(format!(
                r#""resource":"nodes","name":"{node}","apiVersion":"v1","subresource":"status""#
            )),
            bodies: Some((Some(r#"{"status":{"conditions":[{"type":"Ready","status":"True","reason":"KubeletReady","message":"kubelet is posting ready status"}]}}"#.into()), Some(body))),
        }
    }

    fn secret(&mut self, namespace: &str) -> Request {
        let (kind, resource) = match self.below(2) {
            0 => ("Secret", "secrets"),
            _ => ("ConfigMap", "configmaps"),
        };
        let name = format!("app-{}", self.below(50));
        let verb = ["get", "list", "create", "update", "patch", "delete"][self.below(6) as usize];
        let body = format!(
            r#"{{"kind":"{kind}","apiVersion":"v1","metadata":{{"name":"{name}","namespace":"{namespace}"}},"data":{{"first":"{}","second":"{}"}},"type":"Opaque"}}"#,
            "bm90IGEgc2VjcmV0".repeat(2),
            "c29tZSB2YWx1ZSBvciBvdGhlcg==".repeat(4),
        );
        let named = !matches!(verb, "list" | "create");
        let user = match self.below(5) {
            0 => format!("system:serviceaccount:{namespace}:default"),
            _ => self.one_of(&PEOPLE).into(),
        };
        Request {
            verb,
            uri: match named {
                true => format!("/api/v1/namespaces/{namespace}/{resource}/{name}"),
                false => format!("/api/v1/namespaces/{namespace}/{resource}"),
            },
            user,
            groups: ANYBODY,
            agent: KUBECTL,
            stage: DONE,
            code: [200, 200, 200, 403][self.below(4) as usize],
            object: Some(match verb {
                "list" => {
                    format!(
                        r#""resource":"{resource}","namespace":"{namespace}","apiVersion":"v1""#
                    )
                }
                _ => format!(
                    r#""resource":"{resource}","namespace":"{namespace}","name":"{name}","apiVersion":"v1""#
                ),
            }),
            bodies: Some((
                (!matches!(verb, "get" | "list")).then(|| body.clone()),
                Some(body),
            )),
        }
    }

    fn workload(&mut self, namespace: &str) -> Request {
        let (kind, resource, group) = [
            ("Deployment", "deployments", "apps"),
            ("ReplicaSet", "replicasets", "apps"),
            ("Pod", "pods", ""),
            ("StatefulSet", "statefulsets", "apps"),
        ][self.below(4) as usize];
        let name = format!(
            "{}-{}",
            self.one_of(&["web", "api", "cart", "db", "worker"]),
            self.below(40)
        );
        let verb = ["get", "update", "patch", "create", "delete", "list"][self.below(6) as usize];
        let user = self.one_of(&[
            "alice@example.com",
            "bob@example.com",
            "carol@example.com",
            "kubernetes-admin",
            "system:serviceaccount:kube-system:deployment-controller",
            "system:serviceaccount:argocd:argocd-application-controller",
        ]);
        let (api, path, group) = match group {
            "" => ("v1", "/api/v1".into(), String::new()),
            _ => (
                "apps/v1",
                format!("/apis/{group}/v1"),
                format!(r#""apiGroup":"{group}","#),
            ),
        };
        let subresource = match self.below(8) {
            0 => r#","subresource":"status""#,
            1 => r#","subresource":"scale""#,
            _ => "",
        };
        let body = self.object(kind, api, namespace, &name);
        Request {
            verb,
            uri: format!("{path}/namespaces/{namespace}/{resource}/{name}?fieldManager=kubectl"),
            user: user.into(),
            groups: match user {
                "kubernetes-admin" => r#""system:masters","system:authenticated""#,
                _ => ANYBODY,
            },
            agent: KUBECTL,
            stage: DONE,
            code: 200,
            object: Some(format!(
                r#""resource":"{resource}","namespace":"{namespace}","name":"{name}","uid":"{}",{group}"apiVersion":"v1","resourceVersion":"{}"{subresource}"#,
                self.uid(),
                self.count
            )),
            bodies: Some((
                (!matches!(verb, "get" | "list" | "delete"))
                    .then(|| format!(r#"{{"spec":{}}}"#, self.spec(&name))),
                Some(body),
            )),
        }
    }

    fn pod_access(&mut self, namespace: &str) -> Request {
        let name = format!("web-{}", self.below(99));
        let subresource = self.one_of(&["exec", "log", "portforward", "attach", "proxy"]);
        Request {
            verb: if subresource == "log" {
                "get"
            } else {
                "create"
            },
            uri: format!(
                "/api/v1/namespaces/{namespace}/pods/{name}/{subresource}?command=sh\\u0026container=main\\u0026stdin=true\\u0026stdout=true\\u0026tty=true"
            ),
            user: self.one_of(&PEOPLE).into(),
            groups: ANYBODY,
            agent: KUBECTL,
            stage: self.one_of(&["ResponseStarted", DONE]),
            code: 101,
            object: Some(format!(
                r#""resource":"pods","namespace":"{namespace}","name":"{name}","apiVersion":"v1","subresource":"{subresource}""#
            )),
            bodies: None,
        }
    }

    fn token_review(&mut self) -> Request {
        let body = format!(
            r#"{{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","spec":{{"token":"{}"}},"status":{{"authenticated":true,"user":{{"username":"system:serviceaccount:shop:default"}}}}}}"#,
            "x".repeat(240)
        );
        Request {
            verb: "create",
            uri: "/apis/authentication.k8s.io/v1/tokenreviews".into(),
            user: "system:serviceaccount:monitoring:prometheus".into(),
            groups: ACCOUNTS,
            agent: "Go-http-client/2.0",
            stage: DONE,
            code: 201,
            object: Some(
                r#""resource":"tokenreviews","apiGroup":"authentication.k8s.io","apiVersion":"v1""#
                    .into(),
            ),
            bodies: Some((Some(body.clone()), Some(body))),
        }
    }

    fn role_binding(&mut self) -> Request {
        let body = r#"{"kind":"ClusterRoleBinding","apiVersion":"rbac.authorization.k8s.io/v1","metadata":{"name":"oops"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"cluster-admin"},"subjects":[{"kind":"User","name":"bob@example.com"}]}"#;
        Request {
            verb: ["create", "update", "delete"][self.below(3) as usize],
            uri: "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/oops".into(),
            user: self.one_of(&PEOPLE).into(),
            groups: ANYBODY,
            agent: KUBECTL,
            stage: DONE,
            code: 201,
            object: Some(r#""resource":"clusterrolebindings","name":"oops","apiGroup":"rbac.authorization.k8s.io","apiVersion":"v1""#.into()),
            bodies: Some((Some(body.into()), Some(body.into()))),
        }
    }

    /// An object as the server stores it, about three kilobytes of it.
    fn object(&mut self, kind: &str, api: &str, namespace: &str, name: &str) -> String {
        let managed = [
            self.managed_fields("kubectl-client-side-apply"),
            self.managed_fields("kube-controller-manager"),
        ]
        .join(",");
        format!(
            r#"{{"kind":"{kind}","apiVersion":"{api}","metadata":{{"name":"{name}","namespace":"{namespace}","uid":"{uid}","resourceVersion":"{version}","generation":3,"creationTimestamp":"2026-11-01T08:00:00Z","labels":{{"app":"{name}","team":"{team}"}},"annotations":{{"deployment.kubernetes.io/revision":"7","kubectl.kubernetes.io/last-applied-configuration":"{{\"apiVersion\":\"{api}\",\"kind\":\"{kind}\",\"metadata\":{{\"name\":\"{name}\"}},\"spec\":{{\"replicas\":3}}}}\n"}},"managedFields":[{managed}]}},"spec":{spec},"status":{{"observedGeneration":3,"replicas":3,"readyReplicas":{ready},"conditions":[{{"type":"Available","status":"True","lastUpdateTime":"2026-11-20T08:00:00Z","reason":"MinimumReplicasAvailable","message":"Deployment has minimum availability."}}]}}}}"#,
            uid = self.uid(),
            version = 100_000 + self.count,
            team = self.one_of(&["red", "blue"]),
            spec = self.spec(name),
            ready = self.below(4),
        )
    }

    fn spec(&mut self, name: &str) -> String {
        let variables: Vec<String> = (0..6)
            .map(|i| format!(r#"{{"name":"K{i}","value":"value-{i} \"quoted\" ümlaut"}}"#))
            .collect();
        format!(
            r#"{{"replicas":3,"selector":{{"matchLabels":{{"app":"{name}"}}}},"template":{{"metadata":{{"labels":{{"app":"{name}"}}}},"spec":{{"containers":[{{"name":"main","image":"registry.example.com/{name}:1.{}","env":[{}],"resources":{{"limits":{{"cpu":"500m","memory":"256Mi"}}}},"ports":[{{"containerPort":8080,"protocol":"TCP"}}],"terminationMessagePath":"/dev/termination-log","imagePullPolicy":"IfNotPresent"}}],"restartPolicy":"Always","dnsPolicy":"ClusterFirst","schedulerName":"default-scheduler"}}}}}}"#,
            self.below(97),
            variables.join(",")
        )
    }

    fn managed_fields(&self, manager: &str) -> String {
        format!(
            r#"{{"manager":"{manager}","operation":"Update","apiVersion":"v1","time":"{}","fieldsType":"FieldsV1","fieldsV1":{{"f:metadata":{{"f:annotations":{{".":{{}},"f:deployment.kubernetes.io/revision":{{}}}},"f:labels":{{".":{{}},"f:app":{{}},"f:team":{{}}}}}},"f:spec":{{"f:replicas":{{}},"f:selector":{{}},"f:template":{{"f:spec":{{"f:containers":{{"k:{{\"name\":\"main\"}}":{{".":{{}},"f:image":{{}},"f:resources":{{".":{{}},"f:limits":{{}}}}}}}}}}}}}}}}}}"#,
            self.time(0)
        )
    }
}
