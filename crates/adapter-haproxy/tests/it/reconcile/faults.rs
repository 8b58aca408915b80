//! Plans that fail half-way because nobody answers.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use adapter_haproxy::HaproxyVersion;
use adapter_haproxy::reconcile::{
    ApplyOptions, Commands, Plan, RollBack, Running, Wanted, WantedBackend, WantedServer, plan,
};
use adapter_haproxy::render::ServerLine;
use adapter_haproxy::runtime::{Client, ClientOptions, RuntimeAddress, ServerState};

use crate::haproxy::MINUTE;
use crate::runtime::faults::{converse, hello};

const COLUMNS: &str = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight \
    srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state \
    bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr \
    srv_agent_port\n";

/// What `show servers state` says of the servers `mm1`, `mm2`, … of `rooms`, all in this state.
fn told(count: u32, admin: u8) -> String {
    let row = |n| format!("3 rooms {n} mm{n} 192.0.2.{n} 2 {admin} 1 1 0 1 0 2 0 0 0 1 - 80 - 0 0 - - 0\n");
    (1..=count).fold(COLUMNS.to_owned(), |all, n| all + &row(n))
}

fn server(n: u32) -> WantedServer {
    let mut line = ServerLine::new(n, format!("mm{n}"), format!("192.0.2.{n}"), 80);
    line.check = false;
    WantedServer::new(line)
}

fn commands(wanted: Vec<WantedServer>, running: u32) -> Commands {
    let running = Running::new(HaproxyVersion::new(2, 6), ServerState::parse_all(&told(running, 0)).unwrap());
    match plan(&Wanted::new(vec![WantedBackend::new("rooms", wanted)]), &running).unwrap() {
        Plan::Commands(commands) => commands,
        other => panic!("{other}"),
    }
}

fn options() -> ClientOptions {
    ClientOptions::default().with_deadline(MINUTE).with_come_back(Duration::ZERO).with_keep(MINUTE, MINUTE)
}

/// A process that answers so many orders and then none, on whatever connection.
fn falls_silent_after(orders: usize) -> RuntimeAddress {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = RuntimeAddress::Tcp(listener.local_addr().unwrap().to_string());
    std::thread::spawn(move || {
        let mut open = vec![];
        let mut left = Some(orders);
        for mut stream in listener.incoming().flatten() {
            let mut buffer = [0; 4096];
            if let Some(orders) = left.take() {
                for n in 0..=orders {
                    let Ok(1..) = stream.read(&mut buffer) else { return };
                    let answer = if n == 0 { hello(7) } else { "\n> ".to_owned() };
                    stream.write_all(answer.as_bytes()).unwrap();
                }
            }
            open.push(stream);
        }
    });
    address
}

#[tokio::test]
async fn a_rollback_does_not_wait_for_each_step_when_nobody_answers() {
    let heavy = |n| {
        let mut server = server(n);
        server.line.weight = Some(9);
        server
    };
    let done = commands((1..=60).map(heavy).collect(), 60);
    assert_eq!(done.steps().len(), 60);
    let limit = Duration::from_secs(4);
    let options = options().with_deadline(limit).with_dump_deadline(limit);
    let client = Client::new(falls_silent_after(40), options);
    let began = Instant::now();
    let error = client.apply(&done, ApplyOptions::default()).await.unwrap_err();
    // A tenth of the steps at most.
    assert!(began.elapsed() < limit * 6, "{:?}", began.elapsed());
    let RollBack::Partly(left) = &error.rollback else { panic!("{error}") };
    assert_eq!((error.step, left.len()), (41, 41));
    assert!(left.iter().filter(|step| step.contains("not tried")).count() > 30, "{left:?}");
    assert!(error.to_string().contains("41 not undone") && error.to_string().len() < 1500, "{error}");
}

#[tokio::test]
async fn a_server_that_was_not_deleted_has_its_own_address_again() {
    let done = commands(vec![server(1)], 2);
    assert_eq!(done.steps().len(), 3, "{done:?}");
    let nothing = "\n> ".to_owned();
    let idle = "# bkname/svname bkid/svid addr port - purge_delay used_cur used_max need_est unsafe_nb safe_nb idle_lim \
        idle_cur idle_per_thr[1]\nrooms/mm2 3/2 192.0.2.2 80 - 5000 0 1 1 0 0 -1 1 1\n\n> ";
    let busy = "[3]: Server still has connections attached to it, cannot remove it.\n\n> ".to_owned();
    let state = format!("{}\n> ", told(2, 1));
    // Maintenance, idle, not deleted, looked at, moved away; then the connection is lost with the way back.
    let changed = "[4]: port changed from '80' to '81', by 'stats socket command'\n\n> ".to_owned();
    let first = vec![hello(7), nothing.clone(), idle.to_owned(), busy, state, changed.clone()];
    // It is asked for once more. What was deleted, perhaps, is there; and takes work again.
    let exists = "[3]: Already exists a server with the same name in backend.\n\n> ".to_owned();
    let then = vec![hello(7), changed, exists, nothing];
    let (address, asked) = converse(vec![first, then]);
    let error = Client::new(address, options()).apply(&done, ApplyOptions::default()).await.unwrap_err();
    let asked = asked.lock().unwrap();
    let at = |port: u16| asked.rfind(&format!("set server rooms/mm2 addr 192.0.2.2 port {port}"));
    assert!(at(80).is_some() && at(80) > at(81), "{asked}\n{error}");
    assert!(asked.rfind("set server rooms/mm2 state ready") > at(80), "{asked}\n{error}");
    assert!(error.rollback == RollBack::Whole && error.step == 3, "{error}");
}
