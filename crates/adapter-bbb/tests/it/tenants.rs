//! Tenants: each sees its own meetings alone, by every call.

mod admin;
mod away;
mod crowd;
mod dial_in;
mod isolation;
mod learning;
mod limits;
mod property;
mod recordings;
mod store;

use adapter_bbb::{Algorithm, BbbOptions, BbbService, MeetingStore, Payload, RequestHead, Secret, TenantRecord, sign};
use bytes::Bytes;
use http::Response;

use crate::stage::{Answer, HOST, PATIENCE, Process, SECRET, Stage, patient};

/// A tenant as tests name it: id `ten-NAME`, secret `NAME-secret-…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tenant(pub(super) &'static str);

pub(super) const A: Tenant = Tenant("alpha");
pub(super) const B: Tenant = Tenant("beta");

impl Tenant {
    pub(super) fn id(self) -> String {
        format!("ten-{}", self.0)
    }

    pub(super) fn secret(self) -> String {
        format!("{}-secret-Lk82", self.0)
    }

    pub(super) fn host(self) -> String {
        format!("{}.{HOST}", self.0)
    }

    pub(super) fn record(self) -> TenantRecord {
        TenantRecord::new(self.id(), self.0, Secret::new(self.secret()))
    }

    /// A signed call of a front-end.
    pub(super) async fn call(self, process: &Process, name: &str, query: &str) -> Answer {
        ask(&process.service, &self.host(), name, query, &self.secret(), None).await
    }

    pub(super) async fn create(self, process: &Process, id: &str) -> Answer {
        self.call(process, "create", &format!("meetingID={id}&name=of-{}&moderatorPW=mp&attendeePW=ap", self.0)).await
    }

    pub(super) async fn join(self, process: &Process, id: &str) -> Answer {
        self.call(process, "join", &format!("meetingID={id}&fullName=Ann&password=ap")).await
    }
}

pub(super) fn options() -> BbbOptions {
    let mut o = patient();
    o.multitenancy = true;
    o.url_host = Some(HOST.to_owned());
    o.callbacks.allow = "127.0.0.0/8".parse().unwrap();
    o
}

pub(super) async fn add(store: &dyn MeetingStore, tenants: &[TenantRecord]) {
    for t in tenants {
        let saved = store.tenant_store().add_tenant(t).await.unwrap();
        assert_eq!(saved, adapter_bbb::TenantSaved::Done);
    }
}

/// A stage with both tenants, and a process on it.
pub(super) async fn both(stage: &Stage) -> Process {
    add(&*stage.store, &[A.record(), B.record()]).await;
    stage.process(options()).await
}

/// Calls of operators that are our own.
const OWN: [&str; 7] = [
    "tenants",
    "meetings",
    "meeting",
    "addTenantSetting",
    "removeTenantSetting",
    "recordings",
    "addRecordingsToTenant",
];

/// One signed call under this host name.
pub(super) async fn ask(
    service: &BbbService,
    host: &str,
    name: &str,
    query: &str,
    secret: &str,
    body: Option<(&str, &str)>,
) -> Answer {
    let sum = sign(Algorithm::Sha256, name, query, secret);
    let between = if query.is_empty() { "" } else { "&" };
    let query = format!("{query}{between}checksum={sum}");
    let path = if OWN.contains(&name) {
        format!("/balancer/api/{name}")
    } else if name.ends_with("Tenant") || name.ends_with("Tenants") || name.ends_with("TenantInfo") {
        format!("/scalelite/api/{name}")
    } else {
        format!("/bigbluebutton/api/{name}")
    };
    let head = RequestHead {
        method: if body.is_some() { "POST" } else { "GET" },
        path: &path,
        query: &query,
        host: Some(host),
        content_type: body.map(|(kind, _)| kind),
        ..RequestHead::default()
    };
    let payload = Payload::Whole(body.map_or(Bytes::new(), |(_, b)| Bytes::from(b.to_owned())));
    shown(&tokio::time::timeout(PATIENCE, service.handle(head, payload)).await.expect("the balancer answers"))
}

/// A GET without a signature, as browsers send it.
pub(super) async fn served(service: &BbbService, tenant: Tenant, path: &str, query: &str) -> Answer {
    let host = tenant.host();
    let head = RequestHead { method: "GET", path, query, host: Some(&host), ..RequestHead::default() };
    shown(&service.handle(head, Payload::Whole(Bytes::new())).await)
}

/// One call of an operator.
pub(super) async fn operate(process: &Process, name: &str, query: &str, body: Option<serde_json::Value>) -> Answer {
    let body = body.map(|b| b.to_string());
    let body = body.as_deref().map(|b| ("application/json", b));
    ask(&process.service, HOST, name, query, SECRET, body).await
}

pub(super) fn shown(r: &Response<Bytes>) -> Answer {
    let header = |name: &str| r.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
    Answer {
        status: r.status().as_u16(),
        location: header("location"),
        missing: header("www-authenticate").or(header("retry-after")),
        body: String::from_utf8_lossy(r.body()).into_owned(),
    }
}
