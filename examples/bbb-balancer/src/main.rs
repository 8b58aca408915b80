//! Trial.
use adapter_bbb::*;
use std::sync::Arc;
use std::time::Duration;
fn env(n: &str) -> Option<String> {
    std::env::var(n).ok().filter(|v| !v.is_empty())
}
#[tokio::main(flavor = "current_thread")]
async fn main() {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let mut o = BbbOptions::new(Checksums::new(
        secrets(env("LOADBALANCER_SECRET").as_deref(), env("LOADBALANCER_SECRETS").as_deref()),
        Algorithms::default(),
    ));
    if let Some(s) = env("CONNECT_TIMEOUT") {
        o.calls.connect = Duration::from_secs_f64(s.parse().unwrap());
    }
    if let Some(s) = env("RESPONSE_TIMEOUT") {
        o.calls.response = Duration::from_secs_f64(s.parse().unwrap());
    }
    if let Some(s) = env("POLL_INTERVAL") {
        o.poll_interval = Duration::from_secs_f64(s.parse().unwrap());
    }
    o.url_host = env("URL_HOST");
    let store: Arc<dyn MeetingStore> = match env("REDIS_URL") {
        Some(u) => {
            let s = RedisMeetings::new(
                balancer_core::RedisLink::new(balancer_core::RedisOptions::from_url(&u).unwrap()).unwrap(),
                "scalelite",
            );
            s.probe().await.unwrap();
            Arc::new(s)
        }
        None => {
            std::fs::create_dir_all(env("DATA").unwrap()).unwrap();
            LocalStore::open(format!("{}/bbb.redb", env("DATA").unwrap())).await.unwrap()
        }
    };
    let c = Cluster::start(o, store).await.unwrap();
    tokio::spawn(c.clone().run(std::future::pending()));
    let s = HttpServer::bind(
        &Bind::Tcp(format!("127.0.0.1:{}", env("PORT").unwrap()).parse().unwrap()),
        BbbService::new(c),
        HttpLimits::default(),
    )
    .await
    .unwrap();
    s.serve(std::future::pending(), Duration::from_secs(1)).await;
}
