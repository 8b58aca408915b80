//! A wire to the server that can be bad.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Nothing,
    /// So many requests are answered that it is too much.
    Busy(u32),
    /// So many bytes more go to the server.
    CutAfter(usize),
    /// Nothing comes back.
    Silent,
    /// These bytes arrive as others.
    Spoil(&'static [u8]),
}

pub(super) struct Wire {
    pub(super) port: u16,
    fault: Arc<Mutex<Fault>>,
    task: JoinHandle<()>,
}

impl Wire {
    pub(super) async fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let fault = Arc::new(Mutex::new(Fault::Nothing));
        let all = fault.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connection(client, server, all.clone()));
            }
        });
        Self { port, fault, task }
    }

    pub(super) fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    pub(super) fn fault(&self) -> Fault {
        self.fault.lock().unwrap().clone()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What becomes of bytes to the server.
enum Fate {
    Forward(usize),
    Refuse,
    Swallow,
}

fn fate(fault: &mut Fault, bytes: &mut [u8]) -> Fate {
    match fault {
        Fault::Nothing => {}
        Fault::Busy(0) => *fault = Fault::Nothing,
        Fault::Busy(left) => {
            *left -= 1;
            return Fate::Refuse;
        }
        Fault::CutAfter(left) => {
            let some = bytes.len().min(*left);
            *left -= some;
            return Fate::Forward(some);
        }
        Fault::Silent => return Fate::Swallow,
        Fault::Spoil(what) => {
            if let Some(at) = bytes.windows(what.len()).position(|w| w == *what) {
                bytes[at] ^= 1;
            }
        }
    }
    Fate::Forward(bytes.len())
}

async fn connection(mut client: TcpStream, server: u16, fault: Arc<Mutex<Fault>>) {
    const BUSY: &[u8] = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 43\r\nConnection: close\r\n\r\n\
        <Error><Code>SlowDown</Code><Message/></Err";
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
    let (mut up, mut down) = (vec![0; 16 << 10], vec![0; 16 << 10]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(n @ 1..) = read else { return };
                let next = fate(&mut fault.lock().unwrap(), &mut up[..n]);
                match next {
                    Fate::Forward(some) => {
                        if server.write_all(&up[..some]).await.is_err() || some < n {
                            return;
                        }
                    }
                    Fate::Refuse => {
                        let _ = client.write_all(BUSY).await;
                        return;
                    }
                    Fate::Swallow => {}
                }
            }
            read = server.read(&mut down) => {
                let Ok(n @ 1..) = read else { return };
                if fault.lock().unwrap().clone() != Fault::Silent && client.write_all(&down[..n]).await.is_err() {
                    return;
                }
            }
        }
    }
}
