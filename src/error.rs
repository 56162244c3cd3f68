//! What is ours or the operator's fault. What a client does wrong is a [`Fault`](crate::session) and ends in an
//! ERROR frame, never here.

use std::io;
use std::net::SocketAddr;

/// Why the server does not start, or does not do what its program asks.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A listener could not be opened: the port is taken, or the address is not one of this machine's.
    #[error("cannot listen on {address} ({option}): {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// The option that asks for it.
        option: &'static str,
        /// What the operating system says.
        source: io::Error,
    },

    /// Others than this machine could reach the broker, and nothing would ask them who they are.
    #[error(
        "{option} = {address} can be reached from other machines, and no authentication is configured: \
         listen on a loopback address such as 127.0.0.1, or accept the risk with server.insecure_open \
         (--insecure-open)"
    )]
    Open {
        /// The address that is not a loopback one.
        address: SocketAddr,
        /// The option that names it.
        option: &'static str,
    },

    /// An option has a value that cannot be used.
    #[error("{option}: {reason}")]
    Setting {
        /// The option.
        option: &'static str,
        /// What is wrong with its value, and which values are right.
        reason: String,
    },

    /// The operating system gave no random octets, so no session could have an id that nobody guesses.
    #[error("no random octets from the operating system: {0}")]
    Random(String),

    /// The folder of persistent messages cannot be opened.
    #[error("store.folder: {0}")]
    Store(#[from] crate::store::Error),

    /// What the embedding program asked for cannot be; what a client would read in an ERROR frame.
    #[error("{0}")]
    Refused(String),

    /// The embedding program did not take its messages in time.
    #[error("more messages wait for this subscriber than limits.outbound_messages and limits.outbound_size allow")]
    SlowConsumer,
}
