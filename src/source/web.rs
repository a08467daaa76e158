//! How the sources that speak HTTP connect.

use crate::config::{Server, Tls, TlsMode, WebPlace};
use crate::net::{TlsKept, Tracer, Web, WebError, WebLimits, Witness};

/// Connects to web servers as a collector's server is configured, each time anew.
pub(super) struct Dialer {
    tls: TlsKept,
    limits: WebLimits,
    tracer: Tracer,
}

impl Dialer {
    /// For this server.
    pub(super) fn new(server: &Server) -> Self {
        let limits = WebLimits { connect: server.connect_timeout, idle: server.idle_timeout };
        Dialer { tls: TlsKept::new(server.tls.clone()), limits, tracer: Tracer::default() }
    }

    /// The dialogue is shown.
    pub(super) fn traced_by(&mut self, tracer: Tracer) {
        self.tracer = tracer;
    }

    /// With other limits than a server has, or another TLS.
    pub(super) fn with(tls: Tls, limits: WebLimits, tracer: Tracer) -> Self {
        Dialer { tls: TlsKept::new(tls), limits, tracer }
    }

    /// What is shown of the dialogue goes there.
    pub(super) fn tracer(&self) -> Tracer {
        self.tracer.clone()
    }

    /// A new connection, secured as configured.
    pub(super) async fn dial(&self, place: &WebPlace, witness: &dyn Witness) -> Result<Web, WebError> {
        let client = if place.is_secure { Some(self.tls.get().await?) } else { None };
        Web::open(&place.host, place.port, client.as_ref(), self.limits, witness, &self.tracer).await
    }
}

/// The place of a server that is named by `url`.
pub(super) fn place_of(server: &Server, path: &str) -> WebPlace {
    WebPlace { is_secure: server.tls.mode != TlsMode::None, host: server.host.clone(), port: server.port, target: path.to_owned() }
}
