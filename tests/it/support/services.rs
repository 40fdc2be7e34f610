//! Services of a host.

use std::time::Duration;

use shipit::model::service::{Action, Proof, Scope, Service, ServiceKind, ServiceProof, Unit};

/// A service of this kind, on every host, that may take ten seconds to restart.
pub(crate) fn service(what: ServiceKind) -> Service {
    Service {
        image: None,
        name: "todo".to_owned(),
        what,
        roles: Vec::new(),
        limit: Duration::from_secs(10),
        proof: None,
    }
}

/// A service whose restart is a command.
pub(crate) fn command(restart: &str) -> Service {
    service(ServiceKind::Command { restart: restart.to_owned(), stop: None, log: None })
}

/// The unit `todo.service`.
pub(crate) fn unit(scope: Scope, action: Action) -> Service {
    let name = "todo.service".to_owned();
    service(ServiceKind::Unit(Unit { name, scope, action, file: None }))
}

/// That the unit of `unit` is proved in this way.
pub(crate) fn proved(proof: Proof) -> Vec<ServiceProof> {
    let unit = Some("todo.service".to_owned());
    vec![ServiceProof { service: "todo".to_owned(), unit, proof: Some(proof) }]
}
