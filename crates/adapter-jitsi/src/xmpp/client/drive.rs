//! Moves bytes between a connection and its session.

use std::future::Future;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};

use super::{BreweryClient, Command, order};
use crate::xmpp::error::XmppError;
use crate::xmpp::session::{Action, Session, Signal};

/// Why driving stopped.
pub(super) enum Turn {
    /// The TLS handshake is due.
    StartTls,
    Ended(XmppError),
}

pub(super) async fn drive<S: AsyncRead + AsyncWrite + Unpin>(
    client: &mut BreweryClient,
    stream: &mut S,
    session: &mut Session,
    mut stop: Pin<&mut impl Future<Output = ()>>,
    joined: &mut Option<Instant>,
) -> Turn {
    let mut buffer = vec![0; 16 * 1024];
    let mut leaving = false;
    loop {
        while let Some(action) = session.poll() {
            match action {
                Action::Send(bytes) => {
                    let sending = async {
                        stream.write_all(&bytes).await?;
                        stream.flush().await
                    };
                    // Whoever wants to end does not wait for a server that takes nothing.
                    let sent = tokio::select! {
                        biased;
                        sent = timeout(client.options.io_timeout, sending) => sent,
                        () = stop.as_mut(), if !leaving => return Turn::Ended(XmppError::Left),
                        () = client.events.closed(), if !leaving => return Turn::Ended(XmppError::Left),
                    };
                    match sent {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => session.closed(&error.to_string()),
                        Err(_) => session.closed("it takes nothing any more"),
                    }
                }
                Action::StartTls => return Turn::StartTls,
                Action::Signal(signal) => {
                    let now = Instant::now();
                    if matches!(signal, Signal::Joined { .. }) {
                        *joined = Some(now);
                    }
                    client.watch.signal(signal, now.into_std());
                }
                Action::End(error) => {
                    let _ = timeout(client.options.login.leave_timeout, stream.shutdown()).await;
                    // Whatever comes while we leave, we wanted to go.
                    return Turn::Ended(if leaving { XmppError::Left } else { error });
                }
            }
        }
        if leaving {
            client.tell_now();
        } else {
            let told = tokio::select! {
                told = client.tell() => told,
                () = stop.as_mut() => false,
            };
            if !told {
                leaving = true;
                session.leave(Instant::now().into_std());
                continue;
            }
        }
        let due = [session.deadline(), client.watch.deadline()].into_iter().flatten().min();
        let due = due.map(Instant::from_std);
        tokio::select! {
            read = stream.read(&mut buffer) => match read {
                Ok(0) => session.closed("closed by the server"),
                Ok(length) => {
                    let now = Instant::now().into_std();
                    client.watch.heard(now);
                    session.receive(buffer.get(..length).unwrap_or_default(), now);
                }
                Err(error) => session.closed(&error.to_string()),
            },
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                let now = Instant::now().into_std();
                session.tick(now);
                client.watch.tick(now);
            }
            () = stop.as_mut(), if !leaving => {
                leaving = true;
                session.leave(Instant::now().into_std());
            }
            () = client.events.closed(), if !leaving => {
                leaving = true;
                session.leave(Instant::now().into_std());
            }
            command = order(&mut client.commands), if !leaving => match command {
                None => {
                    leaving = true;
                    session.leave(Instant::now().into_std());
                }
                Some(command) => {
                    match &command {
                        Command::Publish(payload) => session.publish(payload),
                        Command::Health(health) => session.set_health(*health),
                    }
                    client.note(command);
                }
            },
        }
    }
}
