//! Turns off Nagle's algorithm on the connections to a server.
//!
//! sqlx 0.9 leaves it on and has no setting for it. A COPY into a table ends with two small messages, data and
//! "done"; over TCP the second then waits for the delayed acknowledgement of the first: 40 ms for each table of
//! each tenant, whatever its size. The socket is inside sqlx, so it is found among the process's own descriptors
//! by its peer's port, and reached by a duplicate (`pidfd_getfd`, Linux 5.6), which shares its options. Where
//! that is not allowed everything works, only slower.

use std::net::TcpStream;

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// Sends small messages to port `port` at once, on every TCP connection that this process has to such a port.
pub(super) fn set(port: u16) {
    if let Err(error) = try_set(port) {
        tracing::debug!(%error, "unable to turn off Nagle's algorithm");
    }
}

fn try_set(port: u16) -> std::io::Result<()> {
    let own = pidfd_open(getpid(), PidfdFlags::empty())?;
    for entry in std::fs::read_dir("/proc/self/fd")?.flatten() {
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let is_socket = std::fs::read_link(entry.path())
            .is_ok_and(|target| target.as_os_str().as_encoded_bytes().starts_with(b"socket:"));
        if !is_socket {
            continue;
        }
        // The descriptor may be closed by now, or may be no TCP socket: then it is not the one.
        let Ok(duplicate) = pidfd_getfd(&own, number, PidfdGetfdFlags::empty()) else { continue };
        let stream = TcpStream::from(duplicate);
        if stream.peer_addr().is_ok_and(|peer| peer.port() == port) {
            stream.set_nodelay(true)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn small_messages_to_the_server_wait_no_longer() {
        let server = TcpListener::bind("127.0.0.1:0").expect("listen");
        let address = server.local_addr().expect("address");
        let client = TcpStream::connect(address).expect("connect");
        assert!(!client.nodelay().expect("option"));
        set(address.port().wrapping_add(1));
        assert!(!client.nodelay().expect("option"), "another port is another server");
        set(address.port());
        assert!(client.nodelay().expect("option"));
    }
}
