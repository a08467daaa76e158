//! Layer 3: connections: TCP and unix sockets, TLS, time limits.
