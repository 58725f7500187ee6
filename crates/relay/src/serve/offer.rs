//! What is served at the moment, and how. Replaced as a whole, never changed in place.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use sealwire_audit::AuditSink;
use sealwire_guard::Gate;

use super::limits::Limits;
use super::{ListenerConfig, ServeConfig, Service};

/// What a listener is known by from one configuration to the next: its address as
/// configured, and where the system chooses the port, whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ListenerKey {
    address: SocketAddr,
    owner: Option<String>,
}

impl ListenerKey {
    pub(super) fn of(listener: &ListenerConfig) -> Self {
        let owner = listener.owner.clone().filter(|_| listener.address.port() == 0);
        Self { address: listener.address, owner }
    }
}

/// One configuration.
pub(super) struct Offer {
    /// By lower-case server name, at each listener.
    services: HashMap<ListenerKey, HashMap<String, Arc<Service>>>,
    pub(super) limits: Arc<Limits>,
    pub(super) gate: Arc<dyn Gate>,
    pub(super) audit: Arc<dyn AuditSink>,
}

impl Offer {
    pub(super) fn new(config: ServeConfig) -> Self {
        let by_name =
            |service: Service| (service.server_name.to_ascii_lowercase(), Arc::new(service));
        let at = |listener: ListenerConfig| {
            let key = ListenerKey::of(&listener);
            (key, listener.services.into_iter().map(by_name).collect())
        };
        Self {
            services: config.listeners.into_iter().map(at).collect(),
            limits: Arc::new(config.limits),
            gate: config.gate,
            audit: config.audit,
        }
    }

    /// The server of that name, in any case, if it is reached there.
    pub(super) fn service(&self, listener: &ListenerKey, name: &str) -> Option<&Arc<Service>> {
        self.services.get(listener)?.get(&name.to_ascii_lowercase())
    }

    /// Whether a server of exactly that name is reached anywhere.
    pub(super) fn has_service(&self, name: &str) -> bool {
        let mut services = self.services.values().flat_map(HashMap::values);
        services.any(|service| service.server_name == name)
    }

    /// Whether there is to be such a listener.
    pub(super) fn has(&self, listener: &ListenerKey) -> bool {
        self.services.contains_key(listener)
    }

    /// The servers reached there, in order.
    pub(super) fn names(&self, listener: &ListenerKey) -> Vec<String> {
        let services = self.services.get(listener).into_iter().flat_map(HashMap::values);
        let mut names: Vec<_> = services.map(|service| service.server_name.clone()).collect();
        names.sort();
        names
    }
}

/// The offer that holds now. Looked at a few times for each connection; for a message, only
/// its number is.
pub(super) struct Offered {
    offer: RwLock<Arc<Offer>>,
    number: AtomicU64,
}

impl Offered {
    pub(super) fn new(offer: Offer) -> Self {
        Self { offer: RwLock::new(Arc::new(offer)), number: AtomicU64::new(0) }
    }

    pub(super) fn now(&self) -> Arc<Offer> {
        Arc::clone(&self.offer.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn replace(&self, offer: Offer) {
        *self.offer.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(offer);
        self.number.fetch_add(1, Ordering::Release);
    }

    /// Another one after each replacement.
    pub(super) fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }
}
